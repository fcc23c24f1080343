# Sourced by other scripts: runs commands of the Flux on PATH.

# Prefix of flux commands: empty, or a command that enters a user namespace.
flux_as=()

# Exports the output of scripts/probe-flux. Fails if the Flux on PATH has no usable broker.
probe_flux() {
    local features line
    features=$(scripts/probe-flux) || return 1
    for line in $features; do
        export "${line?}"
    done
    local user=${STATE_COUNTS_BROKER_USER:-}
    if [ -n "$user" ]; then flux_as=(unshare "--map-user=$user" "--map-group=$user"); fi
}

# A broker accepts commands only from the user that it runs as.
flux() {
    command "${flux_as[@]}" flux "$@"
}
