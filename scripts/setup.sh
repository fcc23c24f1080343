# Shared by the scripts beside it, which source it: what a fresh Debian machine
# lacks, and where Flux is.

# Makes sure that Debian's packages are there: "COMMAND-OR-FILE=PACKAGE" each.
# As root they are installed; otherwise the script ends with their names.
need_packages() {
    local pair missing=()
    for pair in "$@"; do
        local what=${pair%%=*} package=${pair#*=}
        case $what in
            # A pattern: some file of that name.
            /*) compgen -G "$what" >/dev/null || missing+=("$package") ;;
            *) command -v "$what" >/dev/null || missing+=("$package") ;;
        esac
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "Missing: ${missing[*]}" >&2
        echo "Install them (Debian: sudo apt-get install ${missing[*]}) and try again." >&2
        exit 1
    fi
    echo "Installing ${missing[*]}" >&2
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

# What building the plugin takes: a Rust of 2025 or later, and libclang with its
# headers for bindgen. Debian 12's newest Rust has packages of its own.
need_build_packages() {
    need_packages cc=gcc '/usr/include/*/sys/types.h=libc6-dev' pkg-config=pkg-config \
        '/usr/lib/llvm-*/lib/libclang*.so*=libclang-dev'
    if command -v cargo >/dev/null; then
        # As Cargo.toml's rust-version.
        local version
        version=$(cargo --version | awk '{print $2}')
        if [ "$(printf '%s\n' 1.85 "$version" | sort -V | head -1)" != 1.85 ]; then
            echo "cargo $version ($(command -v cargo)) is too old: want Rust 1.85 or later" >&2
            exit 1
        fi
        return 0
    fi
    if [ "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" = bookworm ]; then
        need_packages cargo=cargo-web rustc=rustc-web
    else
        need_packages cargo=cargo rustc=rustc
    fi
}

# Ends a script that only makes sense with a real Flux.
need_flux() {
    command -v flux >/dev/null && return 0
    echo "$0: there is no flux on PATH, and this takes a real one" >&2
    exit 1
}

flux_version() {
    flux version | awk '/libflux-core/ { print $2 }'
}

# Lets build.rs find the headers of the Flux whose command is on PATH.
find_flux() {
    if [ -z "${FLUX_PREFIX:-}" ] && command -v flux >/dev/null &&
        ! pkg-config --exists flux-core; then
        local prefix
        prefix=$(dirname "$(dirname "$(readlink -f "$(command -v flux)")")")
        [ -f "$prefix/include/flux/core.h" ] && export FLUX_PREFIX=$prefix
    fi
    return 0
}

# Etsy's statsd, from npm, in target. Sets STATE_COUNTS_STATSD, its folder.
need_statsd() {
    need_packages node=nodejs npm=npm
    local folder=$PWD/target/npm
    mkdir -p "$folder"
    cp tests/statsd/package.json tests/statsd/package-lock.json "$folder"
    if ! [ -d "$folder/node_modules/statsd" ]; then
        npm ci --prefix "$folder" --silent --no-audit --no-fund
    fi
    export STATE_COUNTS_STATSD=$folder/node_modules/statsd
}

# Graphite, and what asks it.
need_graphite() {
    need_packages carbon-cache=graphite-carbon graphite-manage=graphite-web curl=curl jq=jq
}
