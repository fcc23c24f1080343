# Sourced by the other scripts: checks for required packages, and for Flux.
#
# A requirement is written WHAT=PACKAGE, or WHAT=PACKAGE/PACKAGE if the package has
# another name on Fedora and RHEL than on Debian. WHAT is checked by using it, because
# a file name proves nothing (libclang-cpp.so is not libclang):
#
#   <NAME.h>   the C compiler can read the header
#   cargo      cargo runs, and its version is at least rust-version in Cargo.toml
#   build      the command in $build does not fail in build.rs, which loads libclang
#   python:M   the system's Python can import module M
#   /PATH      the file exists
#   NAME       the command is on PATH

# Required for every Rust program here, and for the plugin.
rust=(cc=gcc '<sys/types.h>=libc6-dev/glibc-devel' cargo=cargo)
plugin=("${rust[@]}" build=libclang-dev/clang-devel)
build=(cargo build --lib)
build_log=
jansson='<jansson.h>=libjansson-dev/jansson-devel'

# rust-version in Cargo.toml.
oldest_rust=1.85

# need_packages REQUIREMENT...: as root on Debian, installs missing packages; otherwise
# ends the script with one line that contains the command to type.
need_packages() {
    local packages
    missing "$@"
    [ ${#packages[@]} -eq 0 ] && return 0
    if ! command -v apt-get >/dev/null; then
        refuse "packages are missing; type: sudo dnf install ${packages[*]}"
    elif [ "$(id -u)" -ne 0 ]; then
        refuse "packages are missing; type: sudo apt-get install ${packages[*]}"
    fi
    echo "Installing ${packages[*]}" >&2
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive SETUP_FOLDER=$PWD SETUP_SCRIPT=$0 \
        apt-get install -y -qq --no-install-recommends -o "DPkg::Pre-Install-Pkgs::=$hook" \
        "${packages[@]}" >&2
    missing "$@"
    [ ${#packages[@]} -eq 0 ] && return 0
    [ -z "$build_log" ] || echo "$build_log" >&2
    refuse "still missing after the installation of ${packages[*]}"
}

# Commands that apt-get runs before it installs packages; if they fail, it installs none.
# shellcheck disable=SC2016
hook='cd "$SETUP_FOLDER" && bash -euo pipefail -c ". scripts/setup.sh; refuse_services" "$SETUP_SCRIPT"'

# Fails if a package on stdin, which has the paths of package files, contains a service that
# this machine does not have. need_server unpacks packages that contain services.
refuse_services() {
    local package unit units
    while read -r package; do
        units=$(dpkg-deb --contents "$package" | sed -nE \
            's,.* \.(((/usr)?/lib|/etc)/systemd/system/[^/]+\.(service|socket|timer)|/etc/init\.d/[^/ ]+)( ->.*)?$,\1,p')
        for unit in $units; do
            [ -e "$unit" ] || refuse "${package##*/} contains the service $unit: not installed"
        done
    done
}

refuse() {
    echo "$0: $*" >&2
    exit 1
}

# missing REQUIREMENT...: sets packages to those of the requirements that are not met.
missing() {
    local need names
    packages=()
    for need in "$@"; do
        # The build can be tried only if the compiler and cargo are installed.
        if [ "${need%%=*}" = build ] && [ ${#packages[@]} -eq 0 ] && builds; then continue; fi
        if [ "${need%%=*}" != build ] && is_there "${need%%=*}"; then continue; fi
        names=${need#*=}
        if command -v apt-get >/dev/null; then names=${names%%/*}; else names=${names#*/}; fi
        case $names in
            cargo) rust_packages ;;
            *) packages+=("$names") ;;
        esac
    done
}

is_there() {
    case $1 in
        '<'*) echo "#include $1" | cc -fsyntax-only -x c - 2>/dev/null ;;
        python:*) /usr/bin/python3 -c "import ${1#*:}" 2>/dev/null ;;
        /*) [ -e "$1" ] ;;
        cargo) rust_is_there ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

rust_is_there() {
    local version
    version=$(cargo --version 2>/dev/null | awk '{print $2}')
    [ -n "$version" ] || return 1
    [ "$(printf '%s\n' "$oldest_rust" "$version" | sort -V | head -n 1)" = "$oldest_rust" ] &&
        return 0
    local newer="install a newer one from https://rustup.rs"
    if is_bookworm; then newer="type: sudo apt-get install cargo-web rustc-web"; fi
    refuse "cargo $version ($(command -v cargo)) is too old (expected Rust $oldest_rust or later); $newer"
}

is_bookworm() {
    [ "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" = bookworm ]
}

# Debian 12 has a newer Rust in separate packages. cargo needs the certificates of the
# system for crates.io.
rust_packages() {
    if is_bookworm; then
        packages+=(cargo-web rustc-web ca-certificates)
    elif command -v apt-get >/dev/null; then
        packages+=(cargo rustc ca-certificates)
    else
        packages+=(cargo rust ca-certificates)
    fi
}

# Runs $build. Returns false if build.rs reports that libclang is missing; any other
# failure ends the script.
builds() {
    local log status=0
    echo "Building (the first time takes a minute or two)" >&2
    if [ -t 2 ]; then
        log=$(CARGO_TERM_PROGRESS_WHEN=always CARGO_TERM_PROGRESS_WIDTH=80 "${build[@]}" 2>&1 |
            show_progress) || status=$?
    else
        log=$(CARGO_TERM_QUIET=true "${build[@]}" 2>&1) || status=$?
    fi
    if [ $status -ne 0 ] && [[ $log == *libclang-dev* ]]; then
        build_log=$log
        return 1
    fi
    [ -z "$log" ] || echo "$log" >&2
    [ $status -eq 0 ] || exit $status
}

# Writes cargo's progress bar to stderr, and prints warnings and errors.
show_progress() {
    local text line
    # A carriage return follows each progress bar.
    while IFS= read -r -d $'\r' text || [ -n "$text" ]; do
        while IFS= read -r line; do
            if [[ $line =~ ^\ +Building\ \[ ]]; then
                printf '\r%s' "$line" >&2
            elif ! [[ $line =~ ^\ +[A-Z][a-z]+\  ]]; then
                printf '%s\n' "$line"
            fi
        done <<<"${text%$'\n'}"
    done
    printf '\r\033[K' >&2
}

# True if the flux on PATH is flux-core's. Other programs, for example Flux CD, have the
# same name.
has_flux() {
    command -v flux >/dev/null && [ -n "$(flux_version)" ]
}

# Ends a script that needs a Flux broker if there is none.
need_flux() {
    has_flux || refuse "flux-core is not on PATH; this script needs a Flux broker"
}

flux_version() {
    flux version 2>/dev/null | awk '/libflux-core/ { print $2 }' || true
}

# Installs Etsy's statsd from npm in target. Sets etsy to its folder.
statsd=(node=nodejs npm=npm)
need_statsd() {
    local folder=$PWD/target/npm
    mkdir -p "$folder"
    cp tests/statsd/package.json tests/statsd/package-lock.json "$folder"
    # Written after a complete installation.
    if ! cmp -s tests/statsd/package-lock.json "$folder/installed.json"; then
        npm ci --prefix "$folder" --loglevel=error --no-audit --no-fund >&2 ||
            refuse "npm could not install statsd"
        cp tests/statsd/package-lock.json "$folder/installed.json"
        touch target/fetched
    fi
    etsy=$folder/node_modules/statsd
}

# need_server PACKAGE PROGRAM: if PROGRAM is not on PATH, unpacks PACKAGE and its
# dependencies in target, where tests/build.rs looks for them. This needs no root and
# starts no service. If the package is not available, tests that need it are ignored.
need_server() {
    local folder=$PWD/target/servers/$1
    if command -v "$2" >/dev/null || [ -x "$folder/usr/sbin/$2" ] || [ -x "$folder/usr/bin/$2" ]
    then
        return 0
    elif unpack "$1" "$folder" >&2; then
        touch target/fetched
    else
        echo "$0: package $1 is not available: tests that need it are ignored" >&2
    fi
}

# server PACKAGE PROGRAM: after need_server, sets program to the words of the command that
# runs PROGRAM, and prefix to the prefix of its files. Ends the script if there is none.
server() {
    local folder=$PWD/target/servers/$1 path libraries
    path=$(command -v "$2") && prefix=$(dirname "$(dirname "$(readlink -f "$path")")") &&
        program=("$path") && return
    prefix=$folder/usr
    path=$prefix/sbin/$2
    [ -x "$path" ] || path=$prefix/bin/$2
    [ -x "$path" ] || refuse "$2 of the package $1 is required"
    libraries=$(printf '%s:' "$prefix"/lib "$prefix"/lib/*/ "$folder"/lib/*/)
    program=(env PYTHONPATH="$prefix/lib/python3/dist-packages${PYTHONPATH:+:$PYTHONPATH}"
        LD_LIBRARY_PATH="$libraries" "$path")
}

# unpack PACKAGE FOLDER: unpacks the package and its dependencies that are not installed.
unpack() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    local packages package
    if ! packages=$(packages_for "$1") && [ "$(id -u)" -eq 0 ]; then
        apt-get update -qq && packages=$(packages_for "$1")
    fi
    [ -n "$packages" ] || return 1
    rm -rf "$2.part" "$2"
    mkdir -p "$2.part/packages"
    # By default, apt-get downloads as a user who may not write there if root runs it.
    # shellcheck disable=SC2086
    (cd "$2.part/packages" && apt-get download -qq -o APT::Sandbox::User=root $packages) || return 1
    for package in "$2.part"/packages/*.deb; do
        dpkg-deb --extract "$package" "$2.part" || return 1
    done
    rm -r "$2.part/packages"
    mv "$2.part" "$2"
}

packages_for() {
    LC_ALL=C apt-get install --simulate --no-install-recommends "$1" 2>/dev/null |
        awk '$1 == "Inst" { print $2; found = 1 } END { exit !found }'
}

need_graphite() {
    need_server graphite-carbon carbon-cache
    need_server graphite-web graphite-manage
}
