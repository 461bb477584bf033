static void *NAME_work(void *given)
{
    const NAME_share *s = given;
#ifdef THREADS
    if (!started(s->all))
        return NULL;
#endif
    for (int64_t tile = s->first; tile * NAME_LANES < s->batch; tile += s->step) {
        const int64_t begin = tile * NAME_LANES, left = s->batch - begin;
        NAME_tile(s, begin, (int)(left < NAME_LANES ? left : NAME_LANES));
    }
    return NULL;
}

/* Share the tiles of samples among threads where there are many, each operation where there are few. */
static void NAME_divide(NAME_share job, int threads)
{
    const int64_t tiles = (job.batch + NAME_LANES - 1) / NAME_LANES;
    const int whole = tiles % threads == 0 || tiles >= 4 * (int64_t)threads;
    NAME_share shares[NAME_MOST_THREADS];
    for (int i = 0; i < threads; i++) {
        shares[i] = job;
        if (whole) {
            shares[i].first = i, shares[i].step = threads;
            shares[i].workspace += i * (ptrdiff_t)NAME_WORKSPACE;
        } else {
            shares[i].part = i, shares[i].parts = threads;
        }
    }
    job.all->size = whole ? 1 : threads;
#ifdef THREADS
    pthread_t others[NAME_MOST_THREADS];
    int count = 1;
    while (count < threads && !pthread_create(&others[count], NULL, NAME_work, &shares[count]))
        count++;
    atomic_store(&job.all->go, count == threads ? 1 : 2);
    if (count == threads)
        NAME_work(&shares[0]);
    for (int i = 1; i < count; i++)
        pthread_join(others[i], NULL);
    if (count < threads) { /* the system has no more threads to give: do it alone */
        atomic_store(&job.all->go, 1);
        job.all->size = 1;
        NAME_work(&job);
    }
#else
    NAME_work(&shares[0]);
#endif
}

/* Predict for `batch` samples. inputs[i] holds batch × (floats of a sample) floats, at least; input_floats[i] says how
   many; outputs likewise. `workspace` has `threads` × NAME_WORKSPACE floats, all zero before its first use; it may be used
   again, by one call at a time. Returns 0, or what is wrong: 1 a null pointer or a number out of range, 2 an input, 3 an
   output, 4 the workspace is too small. */
PUBLIC int NAME_predict(const float *const *inputs, const int64_t *input_floats, float *const *outputs,
                        const int64_t *output_floats, int64_t batch, float *workspace, int64_t workspace_floats,
                        const float *floats, const int32_t *integers, int threads)
{
    if (!inputs || !input_floats || !outputs || !output_floats || !workspace || !floats || !integers)
        return 1;
    if (batch < 0 || batch > INT32_MAX || threads < 1 || threads > NAME_MOST_THREADS)
        return 1;
    for (int i = 0; i < NAME_INPUTS; i++)
        if (!inputs[i] || input_floats[i] / NAME_input_size[i] < batch)
            return 2;
    for (int i = 0; i < NAME_OUTPUTS; i++)
        if (!outputs[i] || output_floats[i] / NAME_output_size[i] < batch)
            return 3;
#ifndef THREADS
    threads = 1;
#endif
    if (workspace_floats / threads < NAME_WORKSPACE)
        return 4;
    team all;
    memset(&all, 0, sizeof all);
    const NAME_share job = {inputs, outputs, batch, workspace, floats, integers, &all, 0, 1, 0, 1};
    NAME_divide(job, threads);
    return 0;
}
