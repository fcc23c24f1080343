# Sourced by other scripts: makes a minimal Debian system of any release in a folder.

# True if this machine allows it.
can_make_roots() {
    [ "$(id -u)" -eq 0 ] && unshare --mount --pid --fork true 2>/dev/null
}

# Prints the Debian archives in apt's configuration, one per line: URI, release, label, and
# the configuration file.
archives() {
    apt-get indextargets --format '$(REPO_URI)|$(RELEASE)|$(LABEL)|$(SOURCESENTRY)' \
        'Created-By: Packages' 'Origin: Debian' 'Component: main' | LC_ALL=C sort -u
}

# make_root SUITE FOLDER PACKAGE...: makes a minimal Debian system with additional
# packages. Mirror, keys, proxies, certificates, and the archives for updates and security
# are taken from this machine's apt.
make_root() {
    local suite=$1 folder=$2 mirror codename source key trust=()
    shift 2
    need_packages debootstrap=debootstrap
    [ -n "$(archives)" ] || apt-get update -qq
    # The archive of the release, not of its updates (bookworm-updates).
    IFS='|' read -r mirror codename _ source < <(archives | awk -F'|' '$3 == "Debian" && $2 !~ /-/') ||
        true
    [ -n "$mirror" ] || refuse "no Debian archive in apt's configuration (/etc/apt/sources.list)"
    # The key of the archive, from the configuration file in one of its two formats. The
    # default of debootstrap is debian-archive-keyring.
    key=$(sed -nE 's/^[^#]*signed-by[=:] *([^] ]+).*/\1/Ip' "${source%:*}" | head -n 1)
    if [ -f "$key" ]; then trust=(--keyring "$key"); else key=; fi
    # All users of the system must be able to read its files.
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
    # The package ca-certificates adds these certificates to its bundle when it is installed.
    if [ -d /usr/local/share/ca-certificates ]; then
        mkdir -p "$folder/usr/local/share/ca-certificates"
        cp -r /usr/local/share/ca-certificates/. "$folder/usr/local/share/ca-certificates"
    fi
}
