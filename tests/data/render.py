"""What Graphite answers to a dashboard's queries over six hours of values, one each ten
seconds: all of them, and thinned out to 50.

On stdin {"series": [NAME, ...], "targets": [TARGET, ...]}; on stdout, for each target,
{"full": [[VALUE, ...], ...], "thin": ...}, a list for each series that it draws. The values
are random. With {"values": {NAME: [VALUE, ...]}, ...} these are the last ones; null is none.

It needs Debian's graphite-web, and no server: Django's test client asks it in process.
"""
import json
import os
import random
import sys
import tempfile
import time

STEP, POINTS = 10, 2160
# Graphite leaves out the beginning, so that what it thins out begins at a round time:
# as much as becomes one value at most. There is next to nothing.
QUIET = 60

# Nothing is drawn on a screen, and in packages that are only unpacked X's library is not
# found: an ImportError, which cairocffi takes well.
sys.modules["xcffib"] = None

asked = json.load(sys.stdin)
with tempfile.TemporaryDirectory() as folder:
    with open(os.path.join(folder, "stored.py"), "w") as settings:
        settings.write(f"""
SECRET_KEY = "gone with the test"
STORAGE_DIR = WHISPER_DIR = CONF_DIR = LOG_DIR = {folder!r}
INDEX_FILE = {folder!r} + "/index"
CARBONLINK_HOSTS = []
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}}
TIME_ZONE = "UTC"
""")
    sys.path.insert(0, folder)
    os.environ["GRAPHITE_SETTINGS_MODULE"] = "stored"
    os.environ["DJANGO_SETTINGS_MODULE"] = "graphite.settings"

    import whisper

    # Graphite thins out to values of 440 s, at multiples of it. The last one is complete.
    until = int(time.time()) // 440 * 440
    values = random.Random(15)
    for name in [*asked["series"], *asked.get("values", {})]:
        path = os.path.join(folder, name.replace(".", "/") + ".wsp")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        whisper.create(path, [(STEP, POINTS + 60)])
        latest = asked.get("values", {}).get(name) or [
            values.randint(1, 200) if back < POINTS - QUIET else 1
            for back in reversed(range(POINTS))
        ]
        points = [
            (until - STEP * back, value)
            for back, value in enumerate(reversed(latest)) if value is not None
        ]
        whisper.update_many(path, points)

    import django

    django.setup()
    from django.test import Client

    client = Client()

    def render(target, most):
        answer = client.get("/render", {
            "target": target, "format": "json", "maxDataPoints": most, "noCache": "1",
            "from": until - STEP * POINTS, "until": until,
        })
        assert answer.status_code == 200, (target, answer.content)
        drawn = json.loads(answer.content)
        return [[value for value, _ in series["datapoints"]] for series in drawn]

    answers = [
        {"full": render(it, 100000), "thin": render(it, 50) if asked["series"] else []}
        for it in asked["targets"]
    ]
json.dump(answers, sys.stdout)
