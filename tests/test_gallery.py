"""The page of the README's gallery.py in a real browser, where there is one.

    PICTURE=1 pytest tests/test_gallery.py

makes the picture in the README anew.
"""
import base64
import http.client
import io
import json
import os
import re
import shutil
import subprocess

import pytest
from PIL import Image

from conftest import HERE, LIMIT
from test_recipes import run_block, under

BROWSER = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
DRIVER = shutil.which('chromedriver')
OPTIONS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
           '--disable-background-networking', '--disable-component-update', '--disable-sync',
           '--window-size=820,740', '--hide-scrollbars']
# waits for the pictures on screen, and returns what is there of each chip
LOOK = """
const figures = [...document.querySelectorAll('figure')].map(figure => {
  const [picture, link] = [figure.querySelector('img'), figure.querySelector('a')];
  return {picture, link, shown: picture.getBoundingClientRect().top < innerHeight};
});
Promise.all(figures.filter(one => one.shown).map(one => one.picture.decode().catch(() => 0))).then(
  () => arguments[0](figures.map(({picture, link, shown}) => (
    {shown, width: picture.naturalWidth, file: picture.src, href: link.href, text: link.textContent}))));
"""


class Browser:
    """A browser with a profile of its own, driven as https://www.w3.org/TR/webdriver2/ says."""

    def __init__(self, profile):
        self.driver = subprocess.Popen([DRIVER, '--port=0'], stdout=subprocess.PIPE, text=True)
        ports = (re.search(r'started successfully on port (\d+)', line) for line in self.driver.stdout)
        self.port = next(int(found[1]) for found in ports if found)
        options = {'binary': BROWSER, 'args': [*OPTIONS, f'--user-data-dir={profile}']}
        self.session = ''
        self.session = '/' + self.ask('POST', '', capabilities={'alwaysMatch': {
            'goog:chromeOptions': options, 'timeouts': {'script': 1000 * LIMIT}}})['sessionId']

    def ask(self, method, command, **body):
        """Has the browser do something; returns what came of it."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=LIMIT)
        connection.request(method, f'/session{self.session}{command}',
                           json.dumps(body) if method == 'POST' else None)
        answer = connection.getresponse()
        value = json.loads(answer.read())['value']
        assert answer.status == 200, value
        return value

    def look(self, page):
        """Opens a page; returns what it has of each chip, [{shown, width, file, href, text}]."""
        self.ask('POST', '/url', url=page.as_uri())
        return self.ask('POST', '/execute/async', script=LOOK, args=[])

    def screen(self):
        """What is on screen."""
        return Image.open(io.BytesIO(base64.b64decode(self.ask('GET', '/screenshot')))).convert('RGB')


@pytest.fixture
def browser(tmp_path_factory):
    """A browser, if one is installed."""
    if not BROWSER or not DRIVER:
        pytest.skip('no Chromium with its chromedriver is installed here')
    browser = Browser(tmp_path_factory.mktemp('profile'))
    yield browser
    browser.ask('DELETE', '')
    browser.driver.terminate()
    browser.driver.wait(LIMIT)


def test_random_places(folder, browser, monkeypatch):
    folder.edit('chips.py', POINTS_PER_ECOREGION=18).run('chips.py', '--first', '60')
    run_block(folder, *under('page with all chips'), monkeypatch)
    rows = {row['file']: row for row in folder.table('chips/chips.csv') if row['file'] in folder.files('chips')}
    seen = browser.look(folder.path / 'chips' / 'index.html')
    assert [chip['file'].rpartition('/')[2] for chip in seen] == list(rows) and len(rows) == 60
    for chip, row in zip(seen, rows.values()):
        lat, lon = row['latitude'], row['longitude']
        assert chip['href'] == f'https://www.openstreetmap.org/#map=15/{lat}/{lon}'
        shown = [float(number) for number in chip['text'].split(', ')]
        assert abs(shown[0] - float(lat)) < 0.001 > abs(shown[1] - float(lon))
        assert chip['width'] == 256 or not chip['shown']
    assert 10 < sum(chip['shown'] for chip in seen) < 40

    # as pixels: a chip stands where the page has it, 150 wide
    screen = browser.screen()
    assert len({screen.getpixel((x, y)) for x in range(20, 150, 10) for y in range(80, 180, 10)}) > 50
    if os.environ.get('PICTURE'):
        screen.save(HERE / 'pictures' / 'gallery.png', optimize=True)


def test_own_places(folder, browser, monkeypatch):
    """Whatever their ids are: each is shown as it is, and its picture is found."""
    ids = ['Hütte 1', 'a#b', '50%25', '<b>&amp;', 'x?y', "'", 'a;b']
    (folder.path / 'points.csv').write_text('site,lat,lon\n' + ''.join(
        f'{name},{39 + n / 10},-105\n' for n, name in enumerate(ids)), 'utf-8')
    folder.edit('chips.py', POINTS='points.csv', SIZE=40).run('chips.py')
    run_block(folder, *under('page with all chips'), monkeypatch)
    seen = browser.look(folder.path / 'chips' / 'index.html')
    assert [chip['text'] for chip in seen] == ids
    assert all(chip['shown'] and chip['width'] == 40 for chip in seen)
    assert [chip['href'] for chip in seen] == [
        f'https://www.openstreetmap.org/#map=15/{39 + n / 10}/-105.0' for n in range(len(ids))]
