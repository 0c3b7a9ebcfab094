#!/bin/sh
# The RUSTC_WORKSPACE_WRAPPER of `cargo xtask fuzz`: has LLVM put libFuzzer's counters into crashtrace's own code. Not into
# dependencies, which are then those of any other build; cargo-fuzz sets its flags for all, and would build each again.
set -eu
crate=
before=
for argument; do
    if [ "$before" = --crate-name ]; then crate=$argument; fi
    before=$argument
done
case $crate in
crashtrace | crashtrace_ebpf | crashtrace_fuzz)
    set -- "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1
    ;;
esac
exec "$@"
