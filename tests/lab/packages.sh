# shellcheck shell=bash
# Sourced by deploy/try, deploy/install and tests/run: what has to be on the machine, and how it gets there.
#
#   need_programs PROGRAM:PACKAGE...   installs the Debian packages of programs that are missing
#   need_rust                          looks for a Rust toolchain that is new enough
#   namespace_flags                    prints what unshare(1) needs here to make private hosts
#
# An ordinary user who lacks something is told the one command to run; nothing asks for a password.
export PATH="$PATH:/usr/sbin:/sbin"

# give_up SENTENCE...: ends the script with exit code 1.
give_up() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

need_programs() {
    local pair packages=()
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || packages+=("${pair#*:}")
    done
    [ ${#packages[@]} -gt 0 ] || return 0

    local as_root=()
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}")
    command -v apt-get >/dev/null || give_up "please install: ${packages[*]}"
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null ||
            give_up "packages are missing; as root, run: apt-get update && apt-get install ${packages[*]}"
        as_root=(sudo -n)
    fi
    echo "Installing ${packages[*]}" >&2
    "${as_root[@]}" "${install[@]}" >/dev/null 2>&1 </dev/null && return
    "${as_root[@]}" apt-get -q update >/dev/null </dev/null || give_up "apt-get update failed"
    "${as_root[@]}" "${install[@]}" >/dev/null </dev/null ||
        give_up "apt-get could not install: ${packages[*]}"
}

need_rust() {
    local wanted found
    # shellcheck disable=SC1091
    command -v cargo >/dev/null || [ ! -f "$HOME/.cargo/env" ] || . "$HOME/.cargo/env"
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    found=$(rustc --version 2>/dev/null | awk '{ print $2 }') || true
    [ -n "$found" ] || give_up "a Rust toolchain is missing, $wanted or newer; install one by rustup"
    [ "$(printf '%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1)" = "$wanted" ] ||
        give_up "Rust $found is too old, $wanted or newer is needed; run: rustup update stable"
}

namespace_flags() {
    local flags=-Urnm
    # Root needs no user namespace.
    [ "$(id -u)" != 0 ] || flags=-nm
    unshare "$flags" --fork --kill-child --pid --mount-proc true 2>/dev/null ||
        give_up "'unshare $flags --pid --mount-proc' is not permitted here: user namespaces may be switched off" \
            "(sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces," \
            "kernel.apparmor_restrict_unprivileged_userns), or a container may forbid them"
    echo "$flags"
}
