# Sourced by the scripts that need a fresh Debian, perhaps of another release, in a
# folder.

# Whether this machine allows it.
can_make_roots() {
    [ "$(id -u)" -eq 0 ] && unshare --mount --pid --fork true 2>/dev/null
}

# What this machine's apt knows of Debian's own archives, one a line: URI, release,
# label, and the file that says so.
archives() {
    apt-get indextargets --format '$(REPO_URI)|$(RELEASE)|$(LABEL)|$(SOURCESENTRY)' \
        'Created-By: Packages' 'Origin: Debian' 'Component: main' | LC_ALL=C sort -u
}

# make_root SUITE FOLDER PACKAGE...: a minimal Debian with these packages besides.
# The mirror, the trust in it, proxies and certificates of the machine's own are
# those of this machine's apt; so are updates and security, if they are here.
make_root() {
    local suite=$1 folder=$2 mirror codename source key trust=()
    shift 2
    need_packages debootstrap=debootstrap
    [ -n "$(archives)" ] || apt-get update -qq
    # The release itself, and not its updates (bookworm-updates).
    IFS='|' read -r mirror codename _ source < <(archives | awk -F'|' '$3 == "Debian" && $2 !~ /-/') ||
        true
    [ -n "$mirror" ] || refuse "apt knows no archive of Debian here (see /etc/apt/sources.list)"
    # The key that it is trusted by. apt does not say; the file does, in one of two
    # forms. Without, debootstrap takes those of debian-archive-keyring.
    key=$(sed -nE 's/^[^#]*signed-by[=:] *([^] ]+).*/\1/Ip' "${source%:*}" | head -n 1)
    if [ -f "$key" ]; then trust=(--keyring "$key"); else key=; fi
    # Whoever is in there reads its files, whatever the umask here.
    (umask 022 && debootstrap --variant=minbase "${trust[@]}" --include="$(IFS=,; echo "$*")" \
        "$suite" "$folder" "$mirror" >"$folder.log" 2>&1) || {
        tail -n 5 "$folder.log" >&2
        refuse "debootstrap of $suite from $mirror failed"
    }
    archives | while IFS='|' read -r uri release _; do
        [[ $release != "$codename"* ]] ||
            echo "deb ${key:+[signed-by=$key] }$uri $suite${release#"$codename"} main"
    done >"$folder/etc/apt/sources.list"
    if [ -n "$key" ] && ! [ -e "$folder$key" ]; then install -D -m 644 "$key" "$folder$key"; fi
    apt-config dump | grep -iE '^Acquire::[a-z]+::Proxy' >"$folder/etc/apt/apt.conf.d/99proxy" || true
    # The package ca-certificates takes them into its bundle when it is installed.
    if [ -d /usr/local/share/ca-certificates ]; then
        mkdir -p "$folder/usr/local/share/ca-certificates"
        cp -r /usr/local/share/ca-certificates/. "$folder/usr/local/share/ca-certificates"
    fi
}
