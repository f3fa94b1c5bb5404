"""Bodies that are spoilt on the way: which are noticed, by what, and what becomes of them."""
import pytest

from conftest import BRIEF, DEFAULTS, LIMIT, Folder, hasten
from test_chips import chips
from test_faults import own_result

KINDS = {
    'png': "image.getThumbURL({**shape, 'format': 'png', 'min': 0, 'max': 255})",
    'jpg': "image.getThumbURL({**shape, 'format': 'jpg', 'min': 0, 'max': 255})",
    'tif': "image.getDownloadURL({**shape, 'format': 'GEO_TIFF'})",
    'npy': "image.getDownloadURL({**shape, 'format': 'NPY'})",
    'zip': "image.getDownloadURL({**shape, 'format': 'ZIPPED_GEO_TIFF'})",
    'csv': "table.getDownloadURL('csv', ['n', 'index'])"}
SEND = f'''
around = ee.Geometry.Point(item['longitude'], item['latitude']).buffer(100)
image = ee.Image.pixelLonLat().select('longitude').multiply(1e6).mod(251).toByte()
shape = {{'dimensions': 16, 'region': around}}
table = ee.FeatureCollection([ee.Feature(None, {{'n': n, 'index': index}}) for n in range(1000, 1020)])
ask = {{{', '.join(f'{kind!r}: lambda: {ask}' for kind, ask in KINDS.items())}}}[item['kind']]
save(item, lambda: download(ask(), 'n,index' if item['kind'] == 'csv' else item['kind']))'''
SERIES = dict(COUNTRIES=['Uruguay', 'Ecuador'], START='2020-01-01', END='2020-03-01', PROCESSES=4)
END, NO_END, FORM, ROWS, VALUE, UNSEEN = (
    'it broke off', 'did not say where', 'was to get', 'rows came for', 'ValueError', 'taken as it came')
PICTURES, FILES = ('png', 'jpg'), ('tif', 'npy', 'zip')
# what is done to a body: {kind: by which words of the log it is noticed, or that it isn't}
TABLE = {
    # fewer bytes than Content-Length or the chunks say
    'cut': dict.fromkeys((*KINDS, 'series'), END),
    # half of it, and nothing that says how long it is
    'unframed': dict.fromkeys((*KINDS, 'series'), NO_END),
    # half of it, with a Content-Length or chunks that say so: as of a proxy that was cut off itself
    'half': {**dict.fromkeys(PICTURES, FORM), **dict.fromkeys((*FILES, 'csv'), UNSEEN), 'series': ROWS},
    # a table without its last rows, whole as an answer
    'rows': {'csv': UNSEEN, 'series': ROWS},
    # one bit of a byte in its middle; in a series a digit is another, or perhaps a number none any more
    'flip': dict.fromkeys((*KINDS, 'series'), UNSEEN),
}


def ready(folder, script):
    """Gives chips.py three items of each kind that download() knows, timeseries.py some regions."""
    if script == 'chips.py':
        places = ''.join(f'{3 * n + m},{-105 - n / 10},{40 + m / 10},{kind}\n'
                         for n, kind in enumerate(KINDS) for m in range(3))
        (folder.path / 'points.csv').write_text(f'id,lon,lat,kind\n{places}')
        own_result(folder.edit(script, POINTS='points.csv', PROCESSES=4), SEND)
    else:
        folder.edit(script, **SERIES)
    return hasten(folder)


@pytest.fixture(scope='module')
def calm(server, tmp_path_factory):
    """The files of runs in which no body is spoilt."""
    server.set(**DEFAULTS)
    found = {}
    for script in 'chips.py', 'timeseries.py':
        folder = ready(Folder(tmp_path_factory.mktemp('calm'), server), script)
        folder.run(script)
        found[script] = folder.files(script.removesuffix('.py'))
    return found


@pytest.mark.parametrize('fault', [
    pytest.param(fault, marks=[BRIEF] * (fault == 'cut')) for fault in TABLE])
@pytest.mark.parametrize('script', ['chips.py', 'timeseries.py'])
def test_what_is_noticed(folder, calm, standin, script, fault):
    """Three of four answers are spoilt, and half of all come in chunks; what is noticed is fetched
    again, and right in the end."""
    name = script.removesuffix('.py')
    standin.set(faults='pixels=0.75,table=0.75', seed=1, chunked=0.5,
                fault_kinds='truncate,truncate-chunked' if fault == 'cut' else fault)
    run = ready(folder, script).start(script)
    out, err = run.communicate(timeout=LIMIT)
    assert 'Traceback' not in err
    spoilt = standin.counts()['faults']
    rows = folder.table(f'{name}/{name}.csv' if script == 'chips.py' else f'{name}/regions.csv')
    files, log = folder.files(name), folder.log(name)
    for kind, expected in TABLE[fault].items():
        here = [row['file'] for row in rows if row.get('kind', 'series') == kind]
        if not here:
            continue
        told = [row['why'] for row in log if row['file'] in here and row['outcome'] in ('retry', 'failed')]
        found = {word for word in (END, NO_END, FORM, ROWS, VALUE) if any(word in why for why in told)}
        other = {file for file in here if file in files and files[file] != calm[script][file]}
        missing = {file for file in here if file not in files}
        found |= {UNSEEN} if other else set()
        # where the byte falls in a table decides whether a number is another or none
        assert found - ({VALUE} if fault == 'flip' else set()) == {expected}, (kind, told)
        assert bool(missing) == (VALUE in found)  # all else that is noticed is right in the end
    assert spoilt['table'] and (script == 'timeseries.py' or spoilt['pixels'])


@pytest.mark.parametrize('body,columns', [
    pytest.param(b'a,b\n1,2\n', ['a', 'b'], id='plain'), pytest.param(b'a', ['a'], id='no line end'),
    pytest.param(b'"a","b, ""c"""\r\n1,2', ['a', 'b, "c"'], id='quotes'),
    pytest.param(b'\xef\xbb\xbfa,\xc3\xa9\n', ['a', '\xe9'], id='byte order mark'),
    pytest.param(b'{"a": 1, "b": 2}\n', [], id='JSON'), pytest.param(b'["a", "b"]\n', [], id='a list of JSON'),
    pytest.param(b'<html>, <p>\n', [], id='a page'), pytest.param(b'', [], id='nothing')])
def test_the_header_of_a_table(body, columns):
    assert chips.header_of(body) == columns


def test_the_columns_of_a_kind():
    for kind, columns in (['a'], ['a']), ('a,b', ['a', 'b']), ('a,"b, c"', ['a', 'b, c']), ('png', None), (
            (b'GIF', b';'), None):
        assert chips.columns_of(kind) == columns
    for kind in 'csv', 'PNG', 'a', '', None, ('a', 'b'), (b'a',), 7:
        with pytest.raises(ValueError, match='download\\(\\) knows no '):
            chips.columns_of(kind)
