# Sourced by scripts that need a fresh Debian of another release, in a folder.

# Whether this machine allows it.
can_make_roots() {
    [ "$(id -u)" -eq 0 ] && unshare --mount --pid --fork true 2>/dev/null
}

# A minimal Debian of suite $1 in folder $2, with the packages that follow, from
# the mirror in this machine's own apt configuration. Its signatures are checked
# with the keys of the package debian-archive-keyring.
make_root() {
    local suite=$1 folder=$2 mirror
    shift 2
    need_packages debootstrap=debootstrap \
        /usr/share/keyrings/debian-archive-keyring.gpg=debian-archive-keyring
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
        'Origin: Debian' 'Label: Debian' | head -1)
    if [ -z "$mirror" ]; then
        echo "$0: apt knows no mirror of Debian here (has apt-get update been run?)" >&2
        return 1
    fi
    # Whoever is in there reads its files, whatever the umask here.
    (umask 022 && debootstrap --variant=minbase --include="$(IFS=,; echo "$*")" \
        "$suite" "$folder" "$mirror" >"$folder.log" 2>&1) || {
        tail -n 5 "$folder.log" >&2
        echo "$0: debootstrap of $suite from $mirror failed" >&2
        return 1
    }
}
