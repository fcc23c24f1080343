# Sourced by other scripts: starts monitoring servers on free ports of the loopback
# interface, with their files below $folder. They end when the script ends.

folder=$(mktemp -d "${TMPDIR:-/tmp}/state-counts.XXXXXX")
started=()
# Commands to run before the servers are ended.
at_end=()
trap end_servers EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# start NAME COMMAND...: runs COMMAND in the background with its output in NAME.log.
start() {
    local name=$1
    shift
    "$@" >"$folder/$name.log" 2>&1 </dev/null &
    started+=("$!")
}

# Ends the servers in reverse order, because the broker sends to statsd until it ends.
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

# give_up NAME MESSAGE...: ends the script with a message and the last lines of NAME.log.
give_up() {
    local name=$1
    shift
    echo "$0: $*" >&2
    tail -n 20 "$folder/$name.log" >&2 || true
    exit 1
}

# await NAME COMMAND...: waits up to 180 s until COMMAND succeeds, which checks server NAME.
await() {
    local name=$1 end=$((SECONDS + 180))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || give_up "$name" "$name did not start within 180 s"
        sleep 0.2
    done
}

# free_ports COUNT: prints unused ports for TCP and UDP.
free_ports() {
    /usr/bin/python3 - "$1" <<'PYTHON'
import socket, sys
# Bind all before printing, so that no port is printed twice.
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

# udp_socket PORT: prints the line in /proc/net/udp of the socket bound to PORT.
udp_socket() {
    awk -v address="$(printf '0100007F:%04X' "$1")" \
        '$2 == address { print; found = 1 } END { exit !found }' /proc/net/udp
}

# udp_drops PORT: prints the number of datagrams that Linux dropped at that socket.
udp_drops() {
    udp_socket "$1" | awk '{ print $NF }'
}

. scripts/flux.sh

# start_broker [TOML [SIZE]]: starts SIZE brokers (default 1) with 64 simulated cores in
# total and the additional configuration TOML, which send to statsd. Sets FLUX_URI.
start_broker() {
    local size=${2:-1} hosts
    hosts=$(hostname)
    [ "$size" -eq 1 ] || hosts="node[0-$((size - 1))]"
    probe_flux || exit 1
    mkdir "$folder/flux"
    cat >"$folder/flux/broker.toml" <<TOML
[resource]
noverify = true
[[resource.config]]
hosts = "$hosts"
cores = "0-$((64 / size - 1))"
${1:-}
TOML
    # FLUX_CONF_DIR instead of --config-path, which requires flux-core 0.69.
    start broker env -u FLUX_URI FLUX_CONF_DIR="$folder/flux" \
        FLUX_FRIPP_STATSD="127.0.0.1:$statsd_port" "${flux_as[@]}" flux start \
        --test-size="$size" sh -c 'echo "$FLUX_URI" >"$0"; exec sleep infinity' "$folder/uri"
    await broker test -s "$folder/uri"
    FLUX_URI=$(cat "$folder/uri")
    export FLUX_URI
}
