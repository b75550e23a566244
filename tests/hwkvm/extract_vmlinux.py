#!/usr/bin/env python3
"""Unpacks the ELF kernel inside a bzImage: extract_vmlinux.py BZIMAGE VMLINUX

QEMU starts an ELF kernel directly (PVH), which saves the emulated machine the decompression. Offsets: the kernel's Documentation/arch/x86/boot.rst.
"""
import struct
import subprocess
import sys

SETUP_SECTORS, PAYLOAD = 0x1F1, 0x248
SECTOR = 512
# Leading bytes -> (command, bytes after the compressed data: the kernel's build appends the unpacked size where the format has none).
FORMATS = {
    b"\x02\x21\x4c\x18": (["lz4", "-dc"], 4),
    b"\x28\xb5\x2f\xfd": (["zstd", "-dc"], 4),
    b"\xfd7zX": (["xz", "-dc"], 4),
    b"\x1f\x8b": (["gzip", "-dc"], 0),
}


def main(source, target):
    with open(source, "rb") as file:
        image = file.read()
    protected_mode = ((image[SETUP_SECTORS] or 4) + 1) * SECTOR
    offset, length = struct.unpack_from("<II", image, PAYLOAD)
    payload = image[protected_mode + offset:protected_mode + offset + length]
    for magic, (command, trailer) in FORMATS.items():
        if payload.startswith(magic):
            data = payload[:len(payload) - trailer]
            unpacked = subprocess.run(command, input=data, stdout=subprocess.PIPE, check=False).stdout
            break
    else:
        sys.exit(f"{source}: compressed in an unknown way ({payload[:6]!r})")
    if not unpacked.startswith(b"\x7fELF"):
        sys.exit(f"{source}: what is inside is no ELF file")
    with open(target, "wb") as file:
        file.write(unpacked)


if __name__ == "__main__":
    main(*sys.argv[1:])
