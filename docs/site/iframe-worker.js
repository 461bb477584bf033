// The site's search runs in a Worker. A browser allows none to a page opened from disk, so there the Worker's script
// runs in a hidden frame instead. The theme looks for the name IFrameWorker to find its files.
if (location.protocol === "file:") {
  const load = (page, address) =>
    new Promise((resolve, reject) => {
      const script = page.createElement("script");
      Object.assign(script, { src: address, onload: resolve, onerror: reject });
      page.head.append(script);
    });

  window.Worker = window.IFrameWorker = class extends EventTarget {
    constructor(address) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.inner = frame.contentWindow;
      // The two functions that a script in a Worker finds
      this.inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.inner.importScripts = (...addresses) =>
        addresses.reduce((done, next) => done.then(() => load(this.inner.document, next)), Promise.resolve());
      this.ready = load(this.inner.document, address);
    }

    postMessage(data) {
      this.ready.then(() => this.inner.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
}
