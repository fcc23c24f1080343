# Shared by the scripts that source it: monitoring servers on loopback, on free
# ports, with all they write below $folder. They end with the script, however it
# ends.

folder=$(mktemp -d "${TMPDIR:-/tmp}/state-counts.XXXXXX")
started=()
# Commands to run before what was started is ended.
at_end=()
trap end_servers EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Runs COMMAND in the background, as NAME, which is also its log's name.
start() {
    local name=$1
    shift
    "$@" >"$folder/$name.log" 2>&1 </dev/null &
    started+=("$!")
}

# Last started, first stopped: a broker still sends to its statsd.
end_servers() {
    local status=$? number command
    trap - EXIT
    for command in "${at_end[@]}"; do
        "$command" || true
    done
    for ((number = ${#started[@]} - 1; number >= 0; number--)); do
        kill "${started[number]}" 2>/dev/null || continue
        wait "${started[number]}" 2>/dev/null || true
    done
    rm -rf "$folder"
    exit "$status"
}

# Ends the script, with the end of the log that may say why.
give_up() {
    local name=$1
    shift
    echo "$0: $*" >&2
    tail -n 20 "$folder/$name.log" >&2 || true
    exit 1
}

# Waits up to 60 s until COMMAND succeeds; NAME is what was started for it.
await() {
    local name=$1 end=$((SECONDS + 60))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || give_up "$name" "$name did not come up"
        sleep 0.2
    done
}

# COUNT ports that were free, for TCP and UDP, a moment ago.
free_ports() {
    /usr/bin/python3 - "$1" <<'PYTHON'
import socket, sys
# All are held at once, so that no two are the same.
held = []
while len(held) < int(sys.argv[1]):
    tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
    tcp.bind(("127.0.0.1", 0))
    try:
        udp.bind(tcp.getsockname())
    except OSError:
        continue
    held.append((tcp, udp))
print(*(tcp.getsockname()[1] for tcp, _ in held))
PYTHON
}

is_open() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1")
}

# Linux's line on the UDP socket that is bound to port.
udp_socket() {
    awk -v address="$(printf '0100007F:%04X' "$1")" \
        '$2 == address { print; found = 1 } END { exit !found }' /proc/net/udp
}

# How many datagrams had no room in that socket, as Linux counts them.
udp_drops() {
    udp_socket "$1" | awk '{ print $NF }'
}

. scripts/flux.sh

# One broker, or as many as the second argument says, with 64 pretended cores in all,
# sending to statsd, and what more TOML says. Sets FLUX_URI.
start_broker() {
    local size=${2:-1} hosts
    hosts=$(hostname)
    [ "$size" -eq 1 ] || hosts="node[0-$((size - 1))]"
    ask_flux || exit 1
    mkdir "$folder/flux"
    cat >"$folder/flux/broker.toml" <<TOML
[resource]
noverify = true
[[resource.config]]
hosts = "$hosts"
cores = "0-$((64 / size - 1))"
${1:-}
TOML
    # Not --config-path, which flux start has since 0.69.
    start broker env -u FLUX_URI FLUX_CONF_DIR="$folder/flux" \
        FLUX_FRIPP_STATSD="127.0.0.1:$statsd_port" "${flux_as[@]}" flux start \
        --test-size="$size" sh -c 'echo "$FLUX_URI" >"$0"; exec sleep infinity' "$folder/uri"
    await broker test -s "$folder/uri"
    FLUX_URI=$(cat "$folder/uri")
    export FLUX_URI
}
