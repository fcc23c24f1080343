# Sourced by other scripts after servers.sh: starts statsd and Graphite.

# Starts carbon, which stores one value per second for a day, and Graphite's web
# application. Sets carbon_port, and graphite to the URL.
start_graphite() {
    local pickle query web program prefix
    read -r carbon_port pickle query web < <(free_ports 4)
    graphite=http://127.0.0.1:$web
    mkdir "$folder/graphite" "$folder/graphite/whisper" "$folder/graphite/log"
    cat >"$folder/graphite/storage-schemas.conf" <<'SCHEMAS'
[all]
pattern = .*
retentions = 1s:1d
SCHEMAS
    cat >"$folder/graphite/carbon.conf" <<CARBON
[cache]
STORAGE_DIR = $folder/graphite
LOCAL_DATA_DIR = $folder/graphite/whisper
CONF_DIR = $folder/graphite
LOG_DIR = $folder/graphite/log
PID_DIR = $folder/graphite
USER =
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = $carbon_port
PICKLE_RECEIVER_INTERFACE = 127.0.0.1
PICKLE_RECEIVER_PORT = $pickle
CACHE_QUERY_INTERFACE = 127.0.0.1
CACHE_QUERY_PORT = $query
MAX_CREATES_PER_MINUTE = inf
MAX_UPDATES_PER_SECOND = inf
CARBON_METRIC_INTERVAL = 0
CARBON
    server graphite-carbon carbon-cache
    start carbon "${program[@]}" --nodaemon --config="$folder/graphite/carbon.conf" start
    await carbon is_open "$carbon_port"

    cat >"$folder/graphite/stored.py" <<SETTINGS
SECRET_KEY = "used on loopback only"
STORAGE_DIR = "$folder/graphite"
WHISPER_DIR = "$folder/graphite/whisper"
CONF_DIR = "$folder/graphite"
LOG_DIR = "$folder/graphite/log"
INDEX_FILE = "$folder/graphite/index"
CARBONLINK_HOSTS = ["127.0.0.1:$query"]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3", "NAME": "$folder/graphite/graphite.db"}}
TIME_ZONE = "UTC"
# Draw each picture from current data.
DEFAULT_CACHE_DURATION = 0
SETTINGS
    # Debian's package expects Apache to serve the static files from this folder.
    local -x PYTHONPATH=$folder/graphite
    server graphite-web graphite-manage
    local static=$prefix/share/graphite-web/static
    cat >"$folder/graphite/served.py" <<SETTINGS
from graphite.settings import *
STATICFILES_DIRS = ("$folder/graphite/static", "$static")
SETTINGS
    # Debian 12's version cannot open saved dashboards: graphite-project/graphite-web#2711.
    mkdir -p "$folder/graphite/static/js"
    { echo 'var htmlEncode = Ext.util.Format.htmlEncode;'; cat "$static/js/dashboard.js"; } \
        >"$folder/graphite/static/js/dashboard.js"
    local settings=(env PYTHONWARNINGS=ignore
        GRAPHITE_SETTINGS_MODULE=stored DJANGO_SETTINGS_MODULE=served)
    "${settings[@]}" "${program[@]}" migrate --run-syncdb >"$folder/migrate.log" 2>&1 ||
        give_up migrate "could not create Graphite's database"
    start graphite "${settings[@]}" "${program[@]}" runserver --noreload --insecure \
        "127.0.0.1:$web"
    await graphite is_open "$web"
}

# start_statsd [PORT]: starts Etsy's statsd, which flushes to carbon each second, and
# forwards each datagram to PORT, if given. Sets statsd_port.
start_statsd() {
    local management backends="'./backends/graphite'" repeat=
    if [ $# -gt 0 ]; then
        backends+=", './backends/repeater'"
        repeat="repeater: [{ host: '127.0.0.1', port: $1 }],"
    fi
    read -r statsd_port management < <(free_ports 2)
    cat >"$folder/statsd-$statsd_port.js" <<STATSD
{ address: '127.0.0.1', port: $statsd_port,
  mgmt_address: '127.0.0.1', mgmt_port: $management, flushInterval: 1000,
  backends: [$backends], $repeat
  graphiteHost: '127.0.0.1', graphitePort: $carbon_port,
  graphite: { legacyNamespace: false } }
STATSD
    start statsd node "$etsy/stats.js" "$folder/statsd-$statsd_port.js"
    await statsd is_open "$management"
}

# graphite_values TARGET FUNCTION FROM: prints a line "NAME VALUE" for each series that
# matches TARGET. FUNCTION (last, min, max or add) is applied to its values since FROM.
graphite_values() {
    curl -sSfG "$graphite/render" -d format=json -d from="$3" --data-urlencode "target=$1" |
        jq -r ".[] | \"\(.target) \([.datapoints[][0] | values] | $2)\""
}
