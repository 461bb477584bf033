"""Changes to files: to the bytes of any file, to the JSON in it, to its tensors; and digests that are made anew."""

from __future__ import annotations

import hashlib
import json
import random
import re
import struct
from collections.abc import Callable
from typing import Any

Random = random.Random
Change = Callable[[bytes, Random], bytes]


def flip_a_bit(content: bytes, draw: Random) -> bytes:
    """Change one bit."""
    changed = bytearray(content)
    changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def flip_many_bits(content: bytes, draw: Random) -> bytes:
    """Change up to 30 bits."""
    for _ in range(draw.randint(2, 30)):
        content = flip_a_bit(content, draw)
    return content


def truncate(content: bytes, draw: Random) -> bytes:
    """Cut the end off."""
    return content[: draw.randrange(len(content))]


def insert(content: bytes, draw: Random) -> bytes:
    """Insert up to 40 random bytes."""
    place = draw.randint(0, len(content))
    return content[:place] + draw.randbytes(draw.randint(1, 40)) + content[place:]


def delete(content: bytes, draw: Random) -> bytes:
    """Remove up to 40 bytes."""
    start = draw.randrange(len(content))
    return content[:start] + content[start + draw.randint(1, 40) :]


def overwrite(content: bytes, draw: Random) -> bytes:
    """Replace 64 bytes by zeros, ones, random bytes, or the beginning of the file."""
    start = draw.randrange(len(content))
    piece = draw.choice((bytes(64), b"\xff" * 64, draw.randbytes(64), content[:64]))
    return content[:start] + piece[: len(content) - start] + content[start + len(piece) :]


def repeat(content: bytes, draw: Random) -> bytes:
    """Append a part of the file to it."""
    start = draw.randrange(len(content))
    return content + content[start : start + draw.randint(1, len(content))]


ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 3, 2**31, 2**63, 10**30, 1.5, float("nan"), float("inf"), "", "x", "\ud800", "größe" * 50),
    *([], {}, [[]], [2**40, 2**40], [-4, 3], {"x": {"y": []}}, "weight/0.weight", [["0.weight", [10**9]]]),
)
"""What values of JSON are replaced by."""


def edit_json(value: Any, draw: Random) -> Any:
    """A copy of a JSON value in which one thing somewhere is replaced, removed, repeated or renamed."""
    if isinstance(value, dict) and value and draw.random() < 0.85:
        key = draw.choice(list(value))
        match draw.randrange(8):
            case 0:
                return {name: item for name, item in value.items() if name != key}
            case 1:
                return {("odd" if name == key else name): item for name, item in value.items()}
            case 2:
                other = draw.choice(list(value))
                return {**value, key: value[other], other: value[key]}
            case _:
                return {**value, key: edit_json(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.85:
        place = draw.randrange(len(value))
        match draw.randrange(8):
            case 0:
                return value[:place] + value[place + 1 :]
            case 1:
                return [*value, value[place]]
            case _:
                return [*value[:place], edit_json(value[place], draw), *value[place + 1 :]]
    if draw.random() < 0.1:
        return nested(draw.choice((5, 40, 200)))
    return draw.choice(ODD_VALUES)


def nested(depth: int) -> Any:
    """Lists within each other."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def edit_text(text: str, draw: Random) -> str:
    """Changes to JSON that no JSON value can express: a key twice, a number of 5,000 digits, lists without end."""
    match draw.randrange(4):
        case 0:
            return text.replace("{", "{" + text.partition("{")[2].split(",")[0] + ",", 1)
        case 1:
            return re.sub(r"\d+", "9" * 5000, text, count=draw.randint(1, 3))
        case 2:
            return text.replace(": ", ": " + "[" * 20_000, 1)
        case _:
            return text[: draw.randrange(len(text))]


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and the bytes after it."""
    start = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:start]), content[start:]


def join(header: dict[str, Any] | str, data: bytes) -> bytes:
    """The inverse of `split`; the header may also be text."""
    text = header if isinstance(header, str) else json.dumps(header, separators=(",", ":"))
    encoded = text.encode(errors="surrogatepass")
    encoded += b" " * (-len(encoded) % 8)
    return struct.pack("<Q", len(encoded)) + encoded + data


def edit_header(content: bytes, draw: Random) -> bytes:
    """Change what the header says of tensors."""
    header, data = split(content)
    metadata, edited = header.pop("__metadata__"), edit_json(header, draw)
    return join({"__metadata__": metadata, **edited} if isinstance(edited, dict) else json.dumps(edited), data)


def edit_metadata(content: bytes, draw: Random) -> bytes:
    """Change the JSON in the metadata."""
    header, data = split(content)
    (kind,) = header["__metadata__"]
    value = edit_json(json.loads(header["__metadata__"][kind]), draw)
    return join({**header, "__metadata__": {kind: json.dumps(value, sort_keys=True)}}, data)


def edit_metadata_text(content: bytes, draw: Random) -> bytes:
    """Change the text of the JSON in the metadata."""
    header, data = split(content)
    (kind,) = header["__metadata__"]
    return join({**header, "__metadata__": {kind: edit_text(header["__metadata__"][kind], draw)}}, data)


def edit_header_text(content: bytes, draw: Random) -> bytes:
    """Change the text of the header."""
    header, data = split(content)
    return join(edit_text(json.dumps(header), draw), data)


def swap_tensors(content: bytes, draw: Random) -> bytes:
    """Give two tensors each other's names."""
    header, data = split(content)
    first, second = draw.sample([name for name in header if name != "__metadata__"], 2)
    return join({**header, first: header[second], second: header[first]}, data)


def swap_bytes_of_tensors(content: bytes, draw: Random) -> bytes:
    """Exchange the bytes of two tensors as far as the shorter one reaches."""
    header, data = split(content)
    tensors = [field for name, field in header.items() if name != "__metadata__"]
    (a, a_end), (b, b_end) = sorted(field["data_offsets"] for field in draw.sample(tensors, 2))
    size = min(a_end - a, b_end - b)
    swapped = data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :]
    return join(header, swapped)


def copy_a_line(content: bytes, draw: Random) -> bytes:
    """Put a copy of one line in the place of another."""
    lines = content.splitlines(keepends=True)
    first, second = draw.sample(range(len(lines)), 2)
    lines[first] = lines[second]
    return b"".join(lines)


def edit_row(content: bytes, draw: Random) -> bytes:
    """Change the JSON of one row."""
    lines = content.splitlines(keepends=True)
    place = draw.randrange(len(lines))
    lines[place] = json.dumps(edit_json(json.loads(lines[place]), draw)).encode() + b"\n"
    return b"".join(lines)


def edit_row_text(content: bytes, draw: Random) -> bytes:
    """Change the text of one row."""
    lines = content.splitlines(keepends=True)
    place = draw.randrange(len(lines))
    lines[place] = edit_text(lines[place].decode(), draw).encode()
    return b"".join(lines)


def edit_json_file(content: bytes, draw: Random) -> bytes:
    """Change a file of JSON, or of one JSON object a line."""
    if content.count(b"\n{"):
        return (edit_row if draw.random() < 0.7 else edit_row_text)(content, draw)
    if draw.random() < 0.3:
        return edit_text(content.decode(), draw).encode(errors="replace")
    return json.dumps(edit_json(json.loads(content), draw)).encode()


def edit_npy_header(content: bytes, draw: Random) -> bytes:
    """Change the type, the shape or the order in the header of an array."""
    start = 10 + int.from_bytes(content[8:10], "little")
    parts = (
        b"'|u1'",
        b"'<i8'",
        b"'<f8'",
        b"'|O'",
        b"'<U9'",
        b"(",
        b"30",
        b"40",
        b"True",
        b"False",
        b"3,",
        b"{",
        b"1.0",
    )
    wanted = draw.choice((*parts, b"9" * 30, b"-3", b"10000000000", b"[" * 90, b"__import__('os')", b"0", b"1e400"))
    header = content[10:start].replace(draw.choice(parts), wanted)
    return content[:8] + len(header).to_bytes(2, "little") + header + content[start:]


ODD_TOML = (
    *("nan", "inf", "-1", "0", "3", "2000000000", "9" * 400, "9" * 5000, "1e400", "1e308", "true", '""', '"x"', "[]"),
    *("[[[]]]", "{}", "{a = 1}", "1979-05-27", "[1, 'a']", "[0, 0]", '"\\u001b[31m"', '"mine:net"', "[" * 3000),
    *("[" + "1," * 20_000 + "]", '"""a\nb"""', '"../../up"', "{" + ".".join("a" * 3000) + " = 1}", '"\\u202e"'),
)
"""What values of settings are replaced by."""


def edit_settings(content: bytes, draw: Random) -> bytes:
    """Replace the values of up to three settings."""
    lines = content.decode().splitlines()
    for place in draw.choices([place for place, line in enumerate(lines) if " = " in line], k=draw.randint(1, 3)):
        lines[place] = f"{lines[place].partition(' = ')[0]} = {draw.choice(ODD_TOML)}"
    return "\n".join(lines).encode()


def edit_settings_text(content: bytes, draw: Random) -> bytes:
    """Add lines that TOML reads slowly, or not at all, or that name what there is not."""
    lines = content.decode().splitlines()
    odd = (
        *(
            "[model]",
            "[" + ".".join("a" * 5000) + "]",
            ".".join("a" * 5000) + " = 1",
            "a" * 50_000 + " = 1",
            "naem = 'x'",
        ),
        *("[model.arguments]\nweights = 'x'", "[data]\nname = 3", "\x00", "seeds.a = 1", "[[pooling]]", "[pooling.x]"),
        *("= 3", "#" + "é" * 900, "\ufeff", "['']", "[model.arguments.a]\nb = 2", "x = " + "{a=" * 900),
    )
    lines.insert(draw.randrange(len(lines)), draw.choice(odd))
    return "\n".join(lines).encode()


ODD_CELLS = (
    *(
        "",
        "x",
        "-1",
        "3",
        "nan",
        "1e400",
        "9" * 5000,
        "0.png",
        "../up.png",
        "/etc/hostname",
        '"',
        "a,b",
        "\x00",
        "\x1b[2J",
    ),
    *("1" + "0" * 400, "größe" * 400, "\u202e", "train", "=1+1"),
)
"""What cells of tables are replaced by."""


def edit_cells(content: bytes, draw: Random) -> bytes:
    """Replace up to three cells of a table, its column names included."""
    lines = [re.split(r"([,\t])", line) for line in content.decode().splitlines()]
    for _ in range(draw.randint(1, 3)):
        line = draw.choice(lines)
        line[2 * draw.randrange((len(line) + 1) // 2)] = draw.choice(ODD_CELLS)
    return "\n".join(map("".join, lines)).encode()


ANY = (flip_a_bit, flip_many_bits, truncate, insert, delete, overwrite, repeat)
"""Changes that fit every file."""
CONTAINERS = (edit_header, edit_metadata, edit_metadata_text, edit_header_text, swap_tensors, swap_bytes_of_tensors)
"""Changes to safetensors files."""
ROWS = (copy_a_line, edit_row, edit_row_text)
"""Changes to rows."""


def signed_container(content: bytes) -> bytes:
    """A safetensors file with digests that fit it, as somebody would make them who changes it on purpose."""
    start = 8 + int.from_bytes(content[:8], "little")
    header, data = content[:start], content[start:]
    pattern = rb'(\\"check_header\\": \\")[0-9a-f]{64}(\\", \\"check_tensors\\": \\")[0-9a-f]{64}'
    if not (place := re.search(pattern, header)):
        return content
    parts = (
        header[: place.start()] + place[1],
        place[2] + hashlib.sha256(data).hexdigest().encode() + header[place.end() :],
    )
    digest = hashlib.sha256((b"0" * 64).join(parts)).hexdigest().encode()
    return digest.join(parts) + data


def signed_lines(content: bytes) -> bytes:
    """Rows with digests that fit them."""
    return re.sub(rb"(?m)^.*$", _signed_line, content)


def _signed_line(line: re.Match[bytes]) -> bytes:
    body = re.sub(rb', "check": "[^"]*"}$', b"}", line[0])
    return body[:-1] + b', "check": "' + hashlib.sha256(body).hexdigest()[:16].encode() + b'"}' if body else b""
