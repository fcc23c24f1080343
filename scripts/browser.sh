# Shared by the scripts that source it after servers.sh: a headless Chromium,
# driven over WebDriver, because its own --screenshot does not wait for pages
# that draw themselves.

# Starts one with a window of WIDTH x HEIGHT.
start_browser() {
    local port
    read -r port < <(free_ports 1)
    # Its settings and caches go away with the script. As root there is no
    # sandbox; the pages are ours.
    start chromedriver env HOME="$folder" chromedriver --port="$port"
    await chromedriver is_open "$port"
    browser=http://127.0.0.1:$port
    browser=$browser/session/$(curl -sSf "$browser/session" -d @- <<SESSION | jq -r .value.sessionId
{ "capabilities": { "alwaysMatch": { "goog:chromeOptions": {
  "binary": "$(command -v chromium)",
  "args": ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--hide-scrollbars", "--window-size=$1,$2", "--user-data-dir=$folder/chromium"] } } } }
SESSION
    )
    at_end+=(end_browser)
}

# resize_browser WIDTH HEIGHT: another window from now on.
resize_browser() {
    jq -n '{width: $ARGS.positional[0], height: $ARGS.positional[1]}' --jsonargs "$1" "$2" |
        curl -sSf "$browser/window/rect" -d @- >/dev/null
}

# look URL READY PICTURE: opens a page, waits until the JavaScript expression
# READY is true, gives it time to draw, and saves what it looks like.
look() {
    local url=$1 ready=$2 picture=$3
    # By way of an empty page: an address that differs in its fragment only would
    # not be loaded.
    for url in about:blank "$url"; do
        jq -n '{url: $ARGS.positional[0]}' --args "$url" |
            curl -sSf "$browser/url" -d @- >/dev/null
    done
    await chromedriver is_ready "$ready"
    sleep 5
    curl -sSf "$browser/screenshot" | jq -r .value | base64 -d | pngquant - >"$picture"
    echo "$picture"
}

is_ready() {
    jq -n '{script: "return Boolean(\($ARGS.positional[0]))", args: []}' --args "$1" |
        curl -sSf "$browser/execute/sync" -d @- | jq -e .value
}

# Ends Chromium, which would outlive a chromedriver that is killed.
end_browser() {
    curl -sS -X DELETE "$browser" >/dev/null
}
