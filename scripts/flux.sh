# Shared by the scripts that source it: how the Flux on PATH wants to be used.

# What runs flux commands: nothing, or a user namespace.
flux_as=()

# Asks the Flux on PATH what it can do, and exports the answers. Fails, and says
# why, where no broker of it can be used.
ask_flux() {
    local answers line
    answers=$(scripts/probe-flux) || return 1
    for line in $answers; do
        export "${line?}"
    done
    local user=${STATE_COUNTS_BROKER_USER:-}
    if [ -n "$user" ]; then flux_as=(unshare "--map-user=$user" "--map-group=$user"); fi
}

# Brokers take commands from their own user only.
flux() {
    command "${flux_as[@]}" flux "$@"
}
