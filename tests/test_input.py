"""Bad input, changed scripts and folders: one sentence, exit status 1, and no download begun."""
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from conftest import HERE, hasten, said
from test_chips import alike, expected, write_points

SENDING = "save_chip(point, mosaic, point['longitude'], point['latitude'])"
WRONG = [
    ('chips.py', dict(FORMAT='gif'), 'FORMAT'),
    ('chips.py', dict(SIZE=0), 'SIZE'), ('chips.py', dict(SIZE=2.5), 'SIZE'),
    ('chips.py', dict(SIZE='256'), 'SIZE'), ('chips.py', dict(SCALE=-1), 'SCALE'),
    ('chips.py', dict(SCALE='1'), 'SCALE'), ('chips.py', dict(SCALE=0), 'SCALE'),
    ('chips.py', dict(PROCESSES=0), 'PROCESSES'), ('chips.py', dict(PROCESSES='25'), 'PROCESSES'),
    ('chips.py', dict(PROCESSES=-3), 'PROCESSES'), ('chips.py', dict(PROCESSES=2.0), 'PROCESSES'),
    ('chips.py', dict(POINTS_PER_ECOREGION=0), 'POINTS_PER_ECOREGION'),
    ('chips.py', dict(POINTS_PER_ECOREGION=-5), 'POINTS_PER_ECOREGION'),
    ('chips.py', dict(POINTS_PER_ECOREGION=1.5), 'POINTS_PER_ECOREGION'),
    ('chips.py', dict(SPACING=0), 'SPACING'),
    ('chips.py', dict(SIZE=4000), 'MB'), ('chips.py', dict(SIZE=6000, FORMAT='tif'), 'MB'),
    ('chips.py', dict(BANDS=['R', 'G', 'B', 'N']), 'BANDS'), ('chips.py', dict(BANDS=[]), 'BANDS'),
    ('chips.py', dict(START='2025-01-01', END='2019-01-01'), 'START'),
    ('chips.py', dict(START='2019-01-01', END='2019-01-01'), 'must be a day before'),
    ('timeseries.py', dict(START='2019-01-01', END='2019-01-01'), 'must be a day before'),
    ('chips.py', dict(START='2019-1-1'), '2019-1-1'), ('chips.py', dict(BANDS='RGB'), 'BANDS'),
    ('chips.py', dict(BANDS=[0, 1, 2]), 'BANDS'), ('timeseries.py', dict(BAND=['LST_Day_1km']), 'one band'),
    ('timeseries.py', dict(DECIMALS='2'), 'DECIMALS'), ('timeseries.py', dict(DECIMALS=-1), 'DECIMALS'),
    ('timeseries.py', dict(START='2050-01-01', END='2051-01-01'), 'no image between START and END'),
    ('timeseries.py', dict(START='2050-01-01'), 'no image between START and END'),
    ('chips.py', dict(REGION='Colorado'), 'REGION'), ('timeseries.py', dict(COUNTRIES='Chile'), "must be a list like ['Chile']"),
    ('chips.py', dict(REGION={'ADM1_NAME': 'Atlantis'}), 'Atlantis'),
    ('chips.py', dict(REGION={'ADM7_NAME': 'Colorado'}), 'ADM7_NAME'),
    ('chips.py', dict(REGION_TABLE='FAO/GAUL/2015/level9'), 'FAO/GAUL/2015/level9'),
    ('chips.py', dict(COLLECTION='USDA/NAIP/DOQ'), 'USDA/NAIP/DOQ'),
    ('timeseries.py', dict(START='2025-01-01', END='2019-01-01'), 'START'),
    ('timeseries.py', dict(START='2025-13-01'), '2025-13-01'),
    ('timeseries.py', dict(END=20250101), '20250101'),
    ('timeseries.py', dict(COUNTRIES=['Brazil', 'Brasil']), "'Brasil'"),
    ('timeseries.py', dict(COUNTRIES=[]), 'nothing to do'),
    ('timeseries.py', dict(REGIONS='FAO/GAUL/2015/level9'), 'FAO/GAUL/2015/level9'),
    ('timeseries.py', dict(COLLECTION='MODIS/061/MOD11A9'), 'MODIS/061/MOD11A9'),
    ('timeseries.py', dict(BAND='LST'), "no band 'LST'"),
    ('timeseries.py', dict(QUALITY=0, QUALITY_BAND='QC'), "no band 'QC'"),
    ('timeseries.py', dict(REDUCER='maximum'), 'REDUCER'),
    ('timeseries.py', dict(QUALITY=7), 'QUALITY'),
    ('timeseries.py', dict(PROCESSES=0), 'PROCESSES'),
]
# what would come if it were not refused, so that a test doesn't take long to fail
FEW = {'chips.py': dict(POINTS_PER_ECOREGION=1), 'timeseries.py': dict(COUNTRIES=['Suriname'])}


@pytest.mark.parametrize('script,constants,words', WRONG)
def test_wrong_constants(folder, standin, script, constants, words):
    folder.edit(script, **{**FEW[script], **constants})
    line, = said(folder.run(script, status=1))
    assert words in line and '(chips.py' not in line and '(timeseries.py' not in line
    assert not standin.counts()['results']
    assert not [path for path in folder.path.rglob('*.*') if path.suffix in ('.png', '.csv')]


@pytest.mark.parametrize('script', ['chips.py', 'timeseries.py'])
def test_no_such_collection_whatever_the_status(folder, standin, script):
    standin.set(behaviour={'not_found_status': 400})
    test_wrong_constants(folder, standin, script, dict(COLLECTION='MODIS/061/MOD11A9'), 'MODIS/061/MOD11A9')


@pytest.mark.parametrize('script', ['chips.py', 'timeseries.py'])
def test_output_that_cannot_be_a_folder(folder, script):
    (folder.path / 'taken').write_text('a file')
    for name in 'taken', '/proc/nothing':
        line, = said(folder.edit(script, OUTPUT=name).run(script, status=1))
        assert name in line
    assert (folder.path / 'taken').read_text() == 'a file'


# points of one's own

def test_own_points(folder):
    (folder.path / 'points.csv').write_bytes(
        '\ufeffid,name,lon,lat\r\nplot 1,x,-105.5,39.0\r\nA/B,"y, z",-104.1,38.5\r\nÑ-7.b,,-108.2,37.3\r\n'
        '.5,,-105.6,39.1\r\nCON,,-105.7,39.2\r\naux.2,,-1.057e2,39.3\r\n'.encode())
    folder.edit('chips.py', POINTS='points.csv', POINTS_PER_ECOREGION=1, SIZE=32).run('chips.py')
    rows = folder.table('chips/chips.csv')
    assert list(rows[0]) == ['file', 'id', 'longitude', 'latitude', 'name', 'crs']
    assert [row['file'] for row in rows] == ['plot_1.png', 'A_B.png', 'Ñ-7.b.png', '_.5.png', '_CON.png', '_aux.2.png']
    assert [row['id'] for row in rows] == ['plot 1', 'A/B', 'Ñ-7.b', '.5', 'CON', 'aux.2']
    assert [row['name'] for row in rows][:3] == ['x', 'y, z', '']
    assert [float(row['longitude']) for row in rows] == [-105.5, -104.1, -108.2, -105.6, -105.7, -105.7]
    for row in rows:
        found = np.array(Image.open(folder.path / 'chips' / row['file']))
        assert alike(found, expected(row, 32, 1)[..., :3]) > 0.99


@pytest.mark.parametrize('text,words', [
    ('id;lon;lat\n1;2;3\n', ['line 1', 'needs id, lon and lat', "['id;lon;lat']", 'semicolons']),
    ('id,Lon,lat\n1,2,3\n', ['line 1', "'Lon'", 'small letters']),
    ('id,lon, lat\n1,2,3\n', ['line 1', "' lat'", 'no blanks']),
    ('id,lon,lat\n1,2,3\n7,-105,5,40,1\n', ['line 3', "'-105', '5'", 'decimal comma']),
    ('id,lon,lat\n1,2\n', ['line 2', 'decimal comma']),
    ('id,lon,lat\n1,2,3\n2,,40\n', ['line 3', "''"]),
    ('id,lon,lat\n1,2,3\n2,105W,40\n', ['line 3', "'105W'"]),
    ('id,lon,lat\n1,2,3\n2,nan,40\n', ['line 3', 'nan']),
    ('id,lon,lat\n1,40,-105\n', ['line 2', 'lon 40', 'lat -105', 'swapped']),
    ('id,lon,lat\n1,-181,5\n', ['line 2', '-181']),
    ('id,lon,lat\n7,1,2\n8,3,4\n7,5,6\n', ['line 4', "'7'"]),
    ('id,lon,lat\nA/B,1,2\nA_b,3,4\n', ['line 3', "'A_b'"]),
    ('id,lon,lat\n', ['points.csv', 'no row']), ('', ['line 1', 'columns []']),
    ('id,lon,lat,file\n1,2,3,4\n', ['line 1', "'file'"]),
    (b'id,lon,lat\n\xff,2,3\n', ['points.csv', 'UTF-8']),
    pytest.param('id,lon,lat\n"1,2,3\n' + '4,5,6\n' * 30000, ['points.csv', 'field larger'], id='quote'),
    (None, ['points.csv', 'No such file'])])
def test_points_that_are_not_understood(folder, standin, text, words):
    if text is not None:
        (folder.path / 'points.csv').write_bytes(text if type(text) is bytes else text.encode())
    line, = said(folder.edit('chips.py', POINTS='points.csv').run('chips.py', status=1))
    assert 'POINTS' in line and all(word in line for word in words), line
    assert not standin.counts()['results']


# a changed script

def test_a_changed_constant_is_refused_with_the_old_and_the_new_value(folder, standin):
    folder.edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=8).run('chips.py')
    before = folder.files('chips')
    standin.reset()
    line, = said(folder.edit('chips.py', SCALE=2, MAX=3000).run('chips.py', status=1))
    assert 'MAX: 3000 now, the results in chips were made with 255' in line
    assert 'SCALE: 2 now, the results in chips were made with 1' in line and 'SIZE' not in line
    assert '--keep' in line and not standin.counts()['requests'] and folder.files('chips') == before
    folder.edit('chips.py', SCALE=1, MAX=255, PROCESSES=3, PROJECT='standin-project', DEADLINE=9, PAUSES=[5])
    hasten(folder)  # changes PATIENCE
    (folder.path / 'chips').rename(folder.path / 'renamed')
    folder.edit('chips.py', OUTPUT='renamed')
    text = (folder.path / 'chips.py').read_text()
    (folder.path / 'chips.py').write_text(re.sub('  #.*', '', text).replace('# places', '# points')
                                          .replace("BANDS = ['R', ", "BANDS = [\n    'R', ")
                                          .replace('"""Downloads', 'r"""Fetches', 1)
                                          .replace('import ast\n', 'import ast\nimport math\n', 1))
    folder.run('chips.py')  # comments, layout, imports, where it is and how it is run don't count
    assert folder.files('renamed') == before and not standin.counts()['requests']


@pytest.mark.parametrize('old,new', [
    ('    half = SIZE', '    half = SIZE * 1'), (SENDING, f'{SENDING[:-1]}, scale=2)'),
    ('SEED = 0', 'SEED = 0\ncolour = "red"')])
def test_any_other_change_is_refused_by_name(folder, old, new):
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8)
    folder.replace('chips.py', '    crs, easting', '    half = SIZE\n    crs, easting').run('chips.py')
    line, = said(folder.replace('chips.py', old, new).run('chips.py', status=1))
    assert {'    half': 'save_chip', 'save': 'getResult', 'SEED': 'colour'}[old.split(' = ')[0].split('_')[0]] in line


@pytest.mark.parametrize('method', ['fork', 'forkserver', 'spawn'])
def test_constants_of_every_kind_stay_the_same(folder, standin, method):
    """Sets, whose order is another in each process, objects, functions and the time of day."""
    standin.set(start_method=method)
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8, PROCESSES=2)
    folder.replace('chips.py', 'SEED = 0', """STATES = {'Colorado', 'Utah', 'Kansas', 'Nevada'}
NOW = time.time()
PAIRS = map(str, [1, 2])
THING = object()
SEED = 0""")
    for _ in range(2):
        folder.run('chips.py')
        (folder.path / 'chips' / 'chip_00002.png').unlink()


def test_another_project_is_refused_by_name(folder, standin):
    """The stand-in's results are not taken for real ones, also where there is no sign-in now."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8).run('chips.py')
    standin.reset()
    line, = said(folder.edit('chips.py', PROJECT='my-own').run('chips.py', status=1))
    assert "'my-own'" in line and "'standin-project'" in line
    folder.edit('chips.py', PROJECT=None)
    standin.set(no_credentials=True)
    line, = said(folder.run('chips.py', status=1))
    assert "None" in line and "'standin-project'" in line and not standin.counts()['requests']


# --keep

def test_keep_goes_on_with_a_mended_script(folder, standin):
    folder.edit('chips.py', POINTS_PER_ECOREGION=5, SIZE=8)
    folder.replace('chips.py', '    around = ', "    index % 2 and {}['odd']\n    around = ")
    folder.run('chips.py', status=1)
    before = folder.files('chips')
    folder.replace('chips.py', "index % 2 and {}['odd']", 'pass')
    assert 'getResult' in folder.run('chips.py', status=1)
    standin.reset()
    assert '20 of 20' in folder.run('chips.py', '--keep')
    assert standin.counts()['results'] == 10
    assert {name: body for name, body in folder.files('chips').items() if name in before} == before
    folder.run('chips.py')  # from now on this is what it was made with


def test_keep_takes_a_list_that_has_grown(folder, standin):
    write_points(folder, (-105.24, 40.03), (-105.34, 40.03)).edit('chips.py', SIZE=8).run('chips.py')
    before = folder.files('chips')
    write_points(folder, (-105.24, 40.03), (-105.34, 40.03), (-105.44, 40.03))
    assert '2 of 2' in folder.run('chips.py')  # the list is that of the first run
    standin.reset()
    assert '3 of 3' in folder.run('chips.py', '--keep') and standin.counts()['results'] == 1
    assert {**before, 'chips.csv': b''} == {
        name: body if name != 'chips.csv' else b'' for name, body in folder.files('chips').items()
        if name != '2.png'}
    assert [row['file'] for row in folder.table('chips/chips.csv')] == ['0.png', '1.png', '2.png']


@pytest.mark.parametrize('places', [[(-105.24, 40.03), (-105.35, 40.03)], [(-105.24, 40.03)]])
def test_keep_refuses_a_list_in_which_a_result_is_another(folder, standin, places):
    write_points(folder, (-105.24, 40.03), (-105.34, 40.03)).edit('chips.py', SIZE=8).run('chips.py')
    before = folder.files('chips')
    line, = said(write_points(folder, *places).run('chips.py', '--keep', status=1))
    assert '1.png' in line and '-105.34' in line
    assert folder.files('chips') == before
    assert '2 of 2' in folder.run('chips.py')


# folders

def test_a_folder_of_other_origin_is_left_alone(folder):
    (folder.path / 'chips').mkdir()
    for name in 'chip_00001.png', 'chips.csv', 'log.csv', 'film.part':
        (folder.path / 'chips' / name).write_bytes(b'of another year')
        line, = said(folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8).run('chips.py', status=1))
        assert 'did not make' in line
        assert [path.read_bytes() for path in (folder.path / 'chips').iterdir()] == [b'of another year']
        (folder.path / 'chips' / name).unlink()
    (folder.path / 'chips' / '.DS_Store').touch()
    folder.run('chips.py')
    (folder.path / 'chips' / 'notes.txt').write_text('mine')
    (folder.path / 'chips' / 'chip_00001.png').unlink()
    folder.run('chips.py')
    assert folder.files('chips')['notes.txt'] == b'mine'


def test_a_lost_list_is_written_again(folder):
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8).run('chips.py')
    before = folder.files('chips')
    (folder.path / 'chips' / 'chips.csv').unlink()
    folder.run('chips.py')
    assert folder.files('chips') == before


def test_a_lost_log_is_begun_anew(folder, standin):
    """It is all that tells what had nothing."""
    write_points(folder, (-105.24, 40.03), (10, 45)).edit('chips.py', SIZE=8).run('chips.py')
    (folder.path / 'chips' / 'log.csv').unlink()
    standin.reset()
    assert '1 nothing' in folder.run('chips.py') and standin.counts()['requests']['create']
    assert [row['outcome'] for row in folder.log('chips')] == ['begun', 'nothing']


def test_a_folder_with_no_result_yet_binds_nobody(folder):
    """Neither does what is told of such results in the log."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8, BANDS=['R', 'G', 'X']).run('chips.py', status=1)
    folder.edit('chips.py', BANDS=['R', 'G', 'B']).run('chips.py')
    assert len(folder.files('chips')) == 41


@pytest.mark.parametrize('half', ['"2.png,ñ', '0.png,done', '2.png,failed,"no im', '2.png,failed,"no im\n'])
def test_half_a_row_in_the_log_does_no_harm(folder, standin, half):
    """As a power cut may leave it; it spoils no row of what came later, however much."""
    write_points(folder, (-105.24, 40.03), (10, 45), (-105.34, 40.03)).edit('chips.py', SIZE=8)
    folder.run('chips.py')
    with open(folder.path / 'chips' / 'log.csv', 'ab') as log:
        log.write(f'2026-01-01T00:00:00Z,{half}'.encode()[:-1 if half[-1] == 'ñ' else None])
        log.write(b'2026-01-01T00:00:00Z,0.png,begun,1\n' * (5000 if half[-1] == '\n' else 0))
    (folder.path / 'chips' / '2.png').unlink()
    assert '2 of 3' in folder.run('chips.py') and '1 nothing' in folder.run('chips.py')



# the list

ITEM = "{'file': f'chip_{index:05}.{FORMAT}', 'longitude'"


@pytest.mark.parametrize('name', ['../escape.png', '/tmp/escape.png', 'a/../b.png', 'chips.csv', '', '..', '.lock',
                                  'a//b.png', 'Log.csv', 'CON.png', 'x/nul', 'abc:def.png', 'a\\b.png', 'end.',
                                  'two\nlines.png', 'chip_00000.PNG'])
def test_names_that_cannot_be(folder, standin, name):
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8)
    folder.replace('chips.py', ITEM, ITEM.replace(
        "f'chip", f"{name!r} if index == 1 else f'chip"))
    line, = said(folder.run('chips.py', status=1))
    assert 'getRequests()' in line and repr(name) in line
    assert not list(folder.path.rglob('escape*')) and not list(folder.path.parent.glob('escape*'))
    assert not standin.counts()['results']


def test_names_with_folders_and_odd_characters(folder):
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8)
    folder.replace('chips.py', ITEM, ITEM.replace(
        "f'chip_{index:05}.{FORMAT}'",
        """['2019/x.png', 'Ñuñoa, "A".png', '2019/7/Console.png', "O'Higgins;.png"][index]"""))
    for _ in range(2):
        folder.run('chips.py')
        assert {row['file'] for row in folder.table('chips/chips.csv')} == set(folder.files('chips')) - {
            'chips.csv'} == {'2019/x.png', 'Ñuñoa, "A".png', '2019/7/Console.png', "O'Higgins;.png"}
        (folder.path / 'chips' / '2019' / 'x.png').unlink()


@pytest.mark.parametrize('new,words', [
    ("{'name': f'chip_{index:05}.{FORMAT}', 'longitude'", "'file'"),
    ("{'file': pathlib.Path(f'chip_{index:05}.png'), 'longitude'", "'file'"),
    ("{**{'extra': 1} * (index == 2), 'file': f'{index}.png', 'longitude'", 'same keys'),
    ("{'when': time.gmtime(), 'who': {1, 2}, 'file': f'{index}.png', 'longitude'", 'set'),
    ("{'value': float('nan'), 'file': f'{index}.png', 'longitude'", 'float')])
def test_items_that_cannot_be(folder, standin, new, words):
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8).replace('chips.py', ITEM, new.replace(
        "{**{'extra': 1} * (index == 2)", "{**({'extra': 1} if index == 2 else {})"))
    line, = said(folder.run('chips.py', status=1))
    assert 'getRequests()' in line and words in line and '(chips.py' not in line
    assert not standin.counts()['results']


def test_items_may_have_their_keys_in_any_order(folder):
    folder.replace('chips.py', '@retry(**PATIENCE)\ndef getResult', '''def getRequests():
    return [{'file': '0.png', 'longitude': -105.24, 'latitude': 40.03},
            {'latitude': 40.04, 'file': '1.png', 'longitude': -105.34}]


@retry(**PATIENCE)
def getResult''')
    folder.edit('chips.py', SIZE=8).run('chips.py')
    assert folder.table('chips/chips.csv') == [
        {'file': '0.png', 'longitude': '-105.24', 'latitude': '40.03'},
        {'file': '1.png', 'longitude': '-105.34', 'latitude': '40.04'}]


def test_items_are_the_same_in_each_run(folder):
    """JSON knows no tuples and no keys but text."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8, PROCESSES=2)
    folder.replace('chips.py', ITEM, ITEM.replace("'longitude'", "'pair': (1, 2), 'longitude'"))
    folder.replace('chips.py', '    around = ', '    assert point["pair"] == [1, 2]\n    around = ')
    folder.run('chips.py')
    (folder.path / 'chips' / 'chip_00002.png').unlink()
    folder.run('chips.py')


@pytest.mark.skipif(not shutil.which('git') or not (HERE.parent / '.git').exists(), reason='no git here')
def test_top_level_holds_what_it_should():
    listed = subprocess.run(['git', 'ls-files'], cwd=HERE.parent, capture_output=True, text=True, check=True).stdout
    assert {name.split('/')[0] for name in listed.splitlines() if name[0] != '.'} == {
        'README.md', 'chips.py', 'requirements.txt', 'tests', 'timeseries.py'}
