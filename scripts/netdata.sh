# Sourced by other scripts after servers.sh: starts Netdata with only its statsd server
# and its web pages enabled.

# start_netdata FILE: starts Netdata with the synthetic charts in FILE. Sets netdata_port
# to the port of its statsd server, and netdata to the URL.
start_netdata() {
    local web home=$folder/netdata program prefix
    server netdata-web netdata
    [ -e "$prefix/share/netdata/web/index.html" ] || refuse "the web pages of Netdata are required"
    read -r netdata_port web < <(free_ports 2)
    netdata=http://127.0.0.1:$web
    mkdir -p "$home"/{etc/statsd.d,cache,lib/registry,log,run}
    cp "$1" "$home/etc/statsd.d/flux.conf"
    cat >"$home/netdata.conf" <<NETDATA
[global]
    run as user = $(id -un)
    hostname = flux
[directories]
    config = $home/etc
    stock config = $home/etc
    cache = $home/cache
    lib = $home/lib
    log = $home/log
    home = $home
    web = $prefix/share/netdata/web
    plugins = $home
[logs]
    access = none
[db]
    mode = ram
[web]
    bind to = 127.0.0.1:$web
    web files owner = root
    web files group = root
[ml]
    enabled = no
[health]
    enabled = no
[registry]
    enabled = no
[plugins]
    apps = no
    cgroups = no
    diskspace = no
    idlejitter = no
    netdata monitoring = no
    nfacct = no
    perf = no
    proc = no
    slabinfo = no
    tc = no
    timex = no
    statsd = yes
    enable running new plugins = no
    check for new plugins every = 86400
[statsd]
    bind to = udp:127.0.0.1:$netdata_port
    # flux-core itself also sends gauges to FLUX_FRIPP_STATSD.
    create private charts for metrics matching = !flux.*.content-cache.* *
NETDATA
    start netdata "${program[@]}" -D -c "$home/netdata.conf" -P "$home/run/netdata.pid"
    await netdata is_open "$web"
    await netdata udp_socket "$netdata_port"
}

# netdata_max CHART SECONDS: prints a line "DIMENSION VALUE" with the highest value of each
# dimension in the last SECONDS.
netdata_max() {
    curl -sSf "$netdata/api/v1/data?chart=$1&after=-$2&format=json" |
        jq -r '. as $all | .labels | to_entries[1:][]
            | "\(.value) \([$all.data[][.key] | values] | max)"'
}
