# Sourced by other scripts after servers.sh: controls a headless Chromium with WebDriver,
# because its option --screenshot does not wait for JavaScript that draws the page.

# start_browser WIDTH HEIGHT: starts Chromium with a window of this size.
start_browser() {
    local port
    read -r port < <(free_ports 1)
    # Settings and caches are in the temporary folder. Chromium's sandbox does not work
    # as root; all pages are local.
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

# resize_browser WIDTH HEIGHT: changes the size of the window.
resize_browser() {
    jq -n '{width: $ARGS.positional[0], height: $ARGS.positional[1]}' --jsonargs "$1" "$2" |
        curl -sSf "$browser/window/rect" -d @- >/dev/null
}

# look URL READY PICTURE: opens a page, waits until the JavaScript expression READY is
# true, waits 5 s for the page to draw, and saves a screenshot.
look() {
    local url=$1 ready=$2 picture=$3
    # Open an empty page first: Chromium does not reload a page if only the fragment of
    # the address changes.
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

# Ends Chromium, which would continue to run after chromedriver is killed.
end_browser() {
    curl -sS -X DELETE "$browser" >/dev/null
}
