"""Bad input: constants, tables of places, items. One sentence, exit status 1, no download begun."""
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from conftest import HERE, said
from test_chips import MIDDLE, add_code, alike, chips, expected, load, write_points

CHIPS, SERIES = 'chips.py', 'timeseries.py'


# constants

def row(name, script, words, **constants):
    """A case of a table: a script, constants that are wrong, words of the sentence about it."""
    return pytest.param(script, constants, words, id=f'{script[:-3]}-{name}')


KNOWN = [  # what is wrong can be known without Earth Engine
    row('FORMAT', CHIPS, 'FORMAT', FORMAT='gif'),
    row('SIZE-0', CHIPS, 'SIZE', SIZE=0), row('SIZE-half', CHIPS, 'SIZE', SIZE=2.5),
    row('SIZE-text', CHIPS, 'SIZE', SIZE='256'),
    row('SCALE-below-0', CHIPS, 'SCALE', SCALE=-1), row('SCALE-text', CHIPS, 'SCALE', SCALE='1'),
    row('SCALE-0', CHIPS, 'SCALE', SCALE=0),
    row('PROCESSES-0', CHIPS, 'PROCESSES', PROCESSES=0),
    row('PROCESSES-text', CHIPS, 'PROCESSES', PROCESSES='25'),
    row('PROCESSES-below-0', CHIPS, 'PROCESSES', PROCESSES=-3),
    row('PROCESSES-float', CHIPS, 'PROCESSES', PROCESSES=2.0),
    row('POINTS_PER_ECOREGION-0', CHIPS, 'POINTS_PER_ECOREGION', POINTS_PER_ECOREGION=0),
    row('POINTS_PER_ECOREGION-below-0', CHIPS, 'POINTS_PER_ECOREGION', POINTS_PER_ECOREGION=-5),
    row('POINTS_PER_ECOREGION-half', CHIPS, 'POINTS_PER_ECOREGION', POINTS_PER_ECOREGION=1.5),
    row('SPACING', CHIPS, 'SPACING', SPACING=0),
    row('picture-of-91-MB', CHIPS, '91 MB', SIZE=4000),
    row('tif-of-205-MB', CHIPS, '205 MB', SIZE=6000, FORMAT='tif'),
    row('BANDS-4', CHIPS, '1 or 3 bands, not 4', BANDS=['R', 'G', 'B', 'N']),
    row('BANDS-2', CHIPS, '1 or 3 bands, not 2', BANDS=['R', 'G'], FORMAT='jpg'),
    row('BANDS-none', CHIPS, 'BANDS', BANDS=[]), row('BANDS-text', CHIPS, 'BANDS', BANDS='RGB'),
    row('BANDS-numbers', CHIPS, 'BANDS must', BANDS=[0, 1, 2]),
    row('MIN-list', CHIPS, "MIN must be a number, or a list with one for each of ['R', 'G', 'B']",
        MIN=[0, 0]),
    row('MAX-list', CHIPS, 'MAX must be a number, or a list', MAX=[255, 255, 255, 255]),
    row('MAX-empty', CHIPS, 'MAX must be a number, or a list', MAX=[]),
    row('MAX-text', CHIPS, "not '255'", MAX='255'), row('MIN-None', CHIPS, 'not None', MIN=None),
    row('MAX-of-one-band', CHIPS, "one for each of ['R']", BANDS=['R'], MAX=[200, 200]),
    row('START-behind-END', CHIPS, 'START', START='2025-01-01', END='2019-01-01'),
    row('START-on-END', CHIPS, 'must be earlier than', START='2019-01-01', END='2019-01-01'),
    row('START-short', CHIPS, "'2019-1-1'", START='2019-1-1'),
    row('END-no-such-day', CHIPS, "END must be a day like '2015-01-31', not '2015-01-32'",
        END='2015-01-32'),
    row('REGION', CHIPS, 'REGION', REGION='Colorado'),
    row('START-basic-format', CHIPS, "not '20150101'", START='20150101'),
    row('START-week', SERIES, "not '2015-W05-6'", START='2015-W05-6'),
    row('PAUSES-below-0', CHIPS, 'PAUSES must', PAUSES=[1, -1]),
    row('PAUSES-number', SERIES, 'PAUSES must', PAUSES=60), row('PAUSES-text', SERIES, 'PAUSES must', PAUSES=['1']),
    row('DEADLINE-0', CHIPS, 'DEADLINE must', DEADLINE=0), row('DEADLINE-text', SERIES, 'DEADLINE must', DEADLINE='9'),
    row('INDEX-the-log', CHIPS, 'INDEX', INDEX='log.csv'),
    row('INDEX-the-log-in-capitals', CHIPS, 'INDEX', INDEX='Log.CSV'),
    row('INDEX-the-list', CHIPS, 'INDEX', INDEX='.list.json'),
    row('INDEX-in-a-folder', CHIPS, 'INDEX', INDEX='tables/chips.csv'),
    row('INDEX-empty', CHIPS, 'INDEX', INDEX=''),
    row('INDEX-question', CHIPS, 'INDEX', INDEX='what?.csv'),
    row('INDEX-None', CHIPS, 'INDEX', INDEX=None),
    row('START-on-END', SERIES, 'must be earlier than', START='2019-01-01', END='2019-01-01'),
    row('START-behind-END', SERIES, 'START', START='2025-01-01', END='2019-01-01'),
    row('START-no-such-month', SERIES, "'2025-13-01'", START='2025-13-01'),
    row('END-number', SERIES, '20250101', END=20250101),
    row('BAND', SERIES, 'one band', BAND=['LST_Day_1km']),
    row('DECIMALS-text', SERIES, 'DECIMALS', DECIMALS='2'),
    row('DECIMALS-below-0', SERIES, 'DECIMALS', DECIMALS=-1),
    row('COUNTRIES-text', SERIES, "must be a list like ['Chile']", COUNTRIES='Chile'),
    row('COUNTRIES-none', SERIES, 'COUNTRIES must', COUNTRIES=[]),
    row('REDUCER', SERIES, 'REDUCER', REDUCER='maximum'),
    row('QUALITY', SERIES, 'QUALITY', QUALITY=7),
    row('PROCESSES', SERIES, 'PROCESSES', PROCESSES=0),
]
ASKED = [  # the service has to be asked
    row('REGION-unknown', CHIPS, 'Atlantis', REGION={'ADM1_NAME': 'Atlantis'}),
    row('REGION-property', CHIPS, 'ADM7_NAME', REGION={'ADM7_NAME': 'Colorado'}),
    row('REGION-one-of-two', CHIPS, 'Canada',
        REGION={'ADM0_NAME': 'Canada', 'ADM1_NAME': 'Colorado'}),
    row('REGION-two-of-two', CHIPS, 'Canada',
        REGION={'ADM1_NAME': 'Colorado', 'ADM0_NAME': 'Canada'}),
    row('REGION_TABLE', CHIPS, 'FAO/GAUL/2015/level9', REGION_TABLE='FAO/GAUL/2015/level9'),
    row('COLLECTION', CHIPS, 'USDA/NAIP/DOQ', COLLECTION='USDA/NAIP/DOQ'),
    row('START-and-END', SERIES, 'no image from 2050-01-01 to 2051-01-01',
        START='2050-01-01', END='2051-01-01'),
    row('START', SERIES, 'no image', START='2050-01-01'),
    row('COUNTRIES', SERIES, "'Brasil'", COUNTRIES=['Brazil', 'Brasil']),
    row('REGIONS', SERIES, 'FAO/GAUL/2015/level9', REGIONS='FAO/GAUL/2015/level9'),
    row('COLLECTION', SERIES, 'MODIS/061/MOD11A9', COLLECTION='MODIS/061/MOD11A9'),
    row('BAND', SERIES, "no band 'LST'", BAND='LST'),
    row('QUALITY_BAND', SERIES, "no band 'QC'", QUALITY=0, QUALITY_BAND='QC'),
]
# what would come if it were not refused, so that a test doesn't take long to fail
FEW = {CHIPS: dict(POINTS_PER_ECOREGION=1, SIZE=8), SERIES: dict(COUNTRIES=['Suriname'])}


@pytest.mark.parametrize('script,constants,words', KNOWN)
def test_constants_that_cannot_be(folder, script, constants, words):
    """Known before anything is asked, with no process of its own."""
    module = load(folder.edit(script, **constants), script)
    with pytest.raises(SystemExit) as ended:
        module.check_setting()
    assert words in ended.value.code


@pytest.mark.parametrize('script,constants,words', [
    *ASKED, *[known for known in KNOWN
              if re.search('(SIZE-text|MIN-list|numbers|the-log|BAND)$', known.id)]])
def test_wrong_constants(folder, standin, script, constants, words):
    """By the real command; a table of both kinds."""
    folder.edit(script, **{**FEW[script], **constants})
    line, = said(folder.run(script, status=1))
    assert words in line and f'({script}, line' not in line and 'Error:' not in line
    assert not standin.counts()['results']
    assert not [path for path in folder.path.rglob('*.*') if path.suffix in ('.png', '.csv')]


@pytest.mark.parametrize('script', [CHIPS, SERIES])
def test_what_is_known_is_told_before_the_sign_in(folder, standin, script):
    """Also where nobody has ever signed in, and where there is no network."""
    standin.set(no_credentials=True)
    line, = said(folder.edit(script, PROCESSES=0).run(script, status=1))
    assert line.startswith('PROCESSES must be') and not standin.counts()['requests']
    assert not (folder.path / script[:-3]).exists()


@pytest.mark.parametrize('script', [CHIPS, SERIES])
def test_no_such_collection_whatever_the_status(folder, standin, script):
    standin.set(behaviour={'not_found_status': 404})
    test_wrong_constants(folder, standin, script, dict(COLLECTION='MODIS/061/MOD11A9'),
                         'MODIS/061/MOD11A9')


@pytest.mark.parametrize('name', ['run', 'items', 'Log', 'folder'])
def test_names_that_the_machinery_has_too(folder, standin, name):
    """A function, a class, constants of the user's part under its names would be lost."""
    text = {'run': 'def run():\n    pass', 'Log': 'class Log:\n    pass'}.get(name, f'{name} = 1')
    folder.edit('chips.py', **FEW[CHIPS])
    line, = said(add_code(folder, text).run('chips.py', status=1))
    assert line.startswith(f'{name}: ') and 'another' in line
    assert not standin.counts()['requests']


def test_names_in_a_comprehension_are_no_names(folder, standin):
    """Nor are those of a lambda, or within a function, be it within an `if`."""
    code = """
        NAMES = [folder for folder, (run, *items) in [('a', 'bc')] for log in items]
        F = lambda work: work
        if NAMES:
            def counted():
                items = 1"""
    assert '4 of 4' in add_code(folder, code).edit('chips.py', **FEW[CHIPS]).run('chips.py')


def test_a_name_that_is_imported_and_the_machinery_has_too(folder, standin):
    folder.edit('chips.py', **FEW[CHIPS])
    folder.replace('chips.py', 'import ast\n', 'import ast\nfrom shutil import move as write\n')
    line, = said(folder.run('chips.py', status=1))
    assert line.startswith('write: ') and not standin.counts()['requests']


# where results are

@pytest.mark.parametrize('script', [CHIPS, SERIES])
def test_output_that_cannot_be_a_folder(folder, standin, script):
    """A file, what no disk has, a link to what isn't there."""
    (folder.path / 'taken').write_text('a file')
    (folder.path / 'dangling').symlink_to(folder.path / 'nowhere')
    for name in 'taken', 'dangling':
        line, = said(folder.edit(script, OUTPUT=name).run(script, status=1))
        assert line.startswith(f'OUTPUT: {name} is no folder')
    assert (folder.path / 'taken').read_text() == 'a file'
    assert not standin.counts()['requests']
    line, = said(folder.edit(script, OUTPUT='/proc/nothing').run(script, status=1))
    assert line.startswith('OUTPUT: /proc/nothing ')


def test_an_output_in_folders_that_are_not_there_yet(folder):
    write_points(folder, MIDDLE).edit('chips.py', SIZE=8, OUTPUT='of 2026/july/chips').run('chips.py')
    assert [*folder.files('of 2026/july/chips')] == ['chips.csv', '0.png']


def test_an_index_that_is_a_folder(folder):
    """It is told by its path; once it is away, all goes on."""
    write_points(folder, MIDDLE).edit('chips.py', SIZE=8).run('chips.py')
    (folder.path / 'chips' / 'chips.csv').unlink()
    (folder.path / 'chips' / 'chips.csv').mkdir()
    (folder.path / 'chips' / '0.png').unlink()
    told = said(folder.run('chips.py', '--keep', status=1))[-1]
    assert 'chips.csv is a folder' in told and 'Errno' not in told
    (folder.path / 'chips' / 'chips.csv').rmdir()
    assert '1 of 1 are in chips' in folder.run('chips.py')


def test_a_result_that_is_a_folder_or_empty_is_not_there(folder, standin):
    """The empty one comes; the folder is told, as it is in the way."""
    write_points(folder, MIDDLE, (-105.34, 40.03), (-105.44, 40.03)).edit('chips.py', SIZE=8)
    folder.run('chips.py')
    before = folder.files('chips')
    (folder.path / 'chips' / '0.png').write_bytes(b'')
    (folder.path / 'chips' / '1.png').unlink()
    (folder.path / 'chips' / '1.png').mkdir()
    standin.reset()
    printed = folder.run('chips.py', status=1)
    assert '2 of 3 are in chips' in printed
    assert re.search(r'1 failed: .*1\.png is a folder.* \(1\.png\)', printed), printed
    assert folder.files('chips')['0.png'] == before['0.png']
    (folder.path / 'chips' / '1.png').rmdir()
    assert '3 of 3 are in chips' in folder.run('chips.py') and folder.files('chips') == before


def test_what_killed_runs_have_left(folder):
    """Their parts go, but those of a run in a folder within, and a folder of that name, stay."""
    write_points(folder, MIDDLE).edit('chips.py', SIZE=8).run('chips.py')
    (folder.path / 'chips' / '0.png').unlink()
    (folder.path / 'chips' / '.part-9-folder').mkdir()
    (folder.path / 'chips' / 'within').mkdir()
    for name in '.part-1-0.png', 'within/.part-2-0.png':
        (folder.path / 'chips' / name).write_bytes(b'part')
    folder.run('chips.py')
    left = sorted(str(path.relative_to(folder.path / 'chips')) for path in folder.path.rglob('.part-*'))
    assert left == ['.part-9-folder', 'within/.part-2-0.png'] and '0.png' in folder.files('chips')


def test_results_deleted_in_mid_run(folder):
    """The last item deletes what came before it; the status comes from the files."""
    write_points(folder, MIDDLE, (-105.34, 40.03), (-105.44, 40.03)).edit('chips.py', SIZE=8, PROCESSES=1)
    add_code(folder, '''
        from_file = getResult


        def getResult(index, point):
            from_file(index, point)
            there = [path for path in folder.glob('*.png')]
            if len(there) == 3:
                next(path for path in there if path.name != point['file']).unlink()
        ''')
    printed = folder.run('chips.py', status=1)
    assert '2 of 3 are in chips' in printed and 'deleted' in printed
    assert len(folder.files('chips')) == 3


def test_an_index_that_has_more_columns(folder, standin):
    """What a user has added stays as long as the list is the same; a lost index is written again."""
    write_points(folder, MIDDLE, (-105.34, 40.03)).edit('chips.py', SIZE=8).run('chips.py')
    index = folder.path / 'chips' / 'chips.csv'
    first = index.read_bytes()
    mine = b''.join(line + b',mine\n' for line in first.splitlines())
    index.write_bytes(mine)
    (folder.path / 'chips' / '1.png').unlink()
    folder.run('chips.py')
    assert index.read_bytes() == mine
    index.unlink()
    folder.run('chips.py')
    assert index.read_bytes() == first


def test_a_table_as_a_result_of_ones_own(folder):
    """FORMAT may be what save_chip() doesn't make, for another getResult()."""
    write_points(folder, MIDDLE, (-105.34, 40.03)).edit('chips.py', FORMAT='csv')
    add_code(folder, '''
        @retry(**PATIENCE)
        def getResult(index, point):
            place = ee.Geometry.Point(point['longitude'], point['latitude'])
            images = ee.ImageCollection(COLLECTION).filterBounds(place).filterDate(START, END)
            years = images.map(lambda image: ee.Feature(None, {'year': image.date().get('year')}))
            url = ee.FeatureCollection(years).getDownloadURL('csv', ['year'])
            save(point, lambda: download(url, ['year']))
        ''').run('chips.py')
    for name in '0.csv', '1.csv':
        years = [int(line['year']) for line in folder.table(f'chips/{name}')]
        assert {*years} == {2015, 2017, 2019, 2021, 2023}
    direct = '''
        def getResult(index, point):
            save_chip(point, ee.Image(1), point['longitude'], point['latitude'])
        '''
    line, = said(add_code(folder, direct).run('chips.py', '--keep', status=1))
    assert line == "FORMAT must be 'png', 'jpg', 'tif' or 'npy', not 'csv'."
    (folder.path / 'chips' / '0.csv').unlink()
    add_code(folder, '''
        def chip(point):
            save_chip(point, ee.Image(1), point['longitude'], point['latitude'])


        def getResult(index, point):
            chip(point)
        ''')
    told, = [line for line in said(folder.run('chips.py', '--keep', status=1)) if 'failed' in line]
    assert "FORMAT: save_chip() makes 'png', 'jpg', 'tif' or 'npy', no 'csv'" in told


# places of one's own: the reader, as a table

def case(name, *values):
    """A row of a table of tests, with its name."""
    return pytest.param(*values, id=name)


HEAD = 'id,lat,lon\n'
A = {'id': 'A', 'longitude': -105.24, 'latitude': 40.03}


def read(path, body, name='points.csv'):
    """Writes a table of places and returns what read_places() makes of it."""
    (path / name).write_bytes(body if isinstance(body, bytes) else body.encode())
    return chips.read_places(name)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, in which the test is."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(path, body):
    """Returns the sentence for which a table ends the run, with blanks for its ends of lines."""
    with pytest.raises(SystemExit) as ended:
        read(path, body)
    lines = ended.value.code.split('\n')
    assert lines[0].startswith('POINTS: ') and lines[-1].endswith('.')
    assert [*map(chips.explain, lines)] == lines  # which cuts what is too long, and mends odd letters
    return ' '.join(lines)


@pytest.mark.parametrize('body,told', [
    case('in full', 'id,latitude,longitude\nA,40.03,-105.24\n', 'columns id, latitude, longitude'),
    case('short', 'id,lat,lon\nA,40.03,-105.24', 'columns id, lat as latitude, lon as longitude'),
    case('CRLF', 'id,lat,lon\r\nA,40.03,-105.24\r\n', 'columns id, lat as latitude, lon as longitude'),
    case('CR', 'id,lat,lon\rA,40.03,-105.24\r', 'columns id, lat as latitude, lon as longitude'),
    case('capitals', 'Site,Latitude,Longitude\nA,40.03,-105.24\n',
         'columns Site as id, Latitude, Longitude'),
    case('x and y', 'X,Y,NAME\n-105.24,40.03,A\n', 'columns NAME as id, Y as latitude, X as longitude'),
    case('lng', 'lng,lat,id\n-105.24,40.03,A\n', 'columns id, lat as latitude, lng as longitude'),
    case('long', 'long,lat,id\n-105.24,40.03,A\n', 'columns id, lat as latitude, long as longitude'),
    case('blanks', ' ID , Lat,LON \n A , 40.03,-105.24 \n',
         'columns ID, Lat as latitude, LON as longitude'),
    case('blanks and quotes', '"id" , "lat", "lon" \n "A" , "40.03", "-105.24" ',
         'columns id, lat as latitude, lon as longitude'),
    case('empty lines', '\n ,\t\n,,,\n\nid,lat,lon\n\n,,\n  \nA,40.03,-105.24\n,,\n , , \n\n',
         'columns id, lat as latitude, lon as longitude'),
    case('BOM', '\ufeffid,lat,lon\nA,40.03,-105.24\n', 'columns id, lat as latitude, lon as longitude'),
    case('BOM and quotes', '\ufeff"id",lat,lon\nA,40.03,-105.24\n',
         'columns id, lat as latitude, lon as longitude'),
    case('semicolons', 'id;lat;lon\nA;40.03;-105.24\n',
         'columns id, lat as latitude, lon as longitude, separated by semicolons'),
    case('decimal commas', 'id;lat;lon\nA;40,03;-105,24\n',
         'columns id, lat as latitude, lon as longitude, separated by semicolons, decimal commas'),
    case('all in quotes', '"id";"lat";"lon"\n"A";"40,03";"-105,24"\n',
         'columns id, lat as latitude, lon as longitude, separated by semicolons, decimal commas'),
    case('tabs', 'id\tlat\tlon\nA\t40.03\t-105.24\n',
         'columns id, lat as latitude, lon as longitude, separated by tabs'),
    case('tabs and decimal commas', 'id\tlat\tlon\nA\t40,03\t-105,24\n',
         'columns id, lat as latitude, lon as longitude, separated by tabs, decimal commas'),
    case('UTF-16 of Excel', 'id\tlat\tlon\r\nA\t40,03\t-105,24\r\n'.encode('utf-16'),
         'columns id, lat as latitude, lon as longitude, separated by tabs, decimal commas, '
         'encoded in UTF-16'),
    case('UTF-16 the other way', b'\xfe\xff' + 'id,lat,lon\nA,40.03,-105.24'.encode('utf-16-be'),
         'columns id, lat as latitude, lon as longitude, encoded in UTF-16'),
    case('index of pandas', ',id,lat,lon\n0,A,40.03,-105.24\n',
         'columns id, lat as latitude, lon as longitude'),
    case('empty columns', 'id;lat;lon;;\nA;40,03;-105,24;;\n;;;;\n',
         'columns id, lat as latitude, lon as longitude, separated by semicolons, decimal commas'),
    case('signs and exponents', 'id,lat,lon\nA,+40.03,-1.0524e2\n',
         'columns id, lat as latitude, lon as longitude')])
def test_the_same_place_in_many_ways(here, body, told):
    places, sentence = read(here, body)
    assert places == [A] and [*places[0]] == ['id', 'longitude', 'latitude']
    assert sentence == f'points.csv: 1 place, {told}'


@pytest.mark.parametrize('header,row,others', [
    case('name beside id', 'name,id,lat,lon', 'x,A,40.03,-105.24', {'name': 'x'}),
    case('site beside name', 'site,lat,Name,lon,Date', 'y,40.03,A,-105.24,2020-01-01',
         {'site': 'y', 'Date': '2020-01-01'}),
    case('several lines', 'id,Note,lat,lon', 'A,"one, two; ""three""\nfour",40.03,-105.24',
         {'Note': 'one, two; "three"\nfour'}),
    case('empty', 'id,Note,lat,lon', 'A,,40.03,-105.24', {'Note': ''}),
    case('inch', 'id,Note,lat,lon', 'A,5" pipe,40.03,-105.24', {'Note': '5" pipe'}),
    case('commas in a header', 'id;lat;lon;a, b, c, d, e', 'A;40,03;-105,24;1,5', {'a, b, c, d, e': '1,5'}),
    case('semicolons in a header', 'id\tlat\tlon\tof; these, two', 'A\t40.03\t-105.24\t;',
         {'of; these, two': ';'}),
    case('quoted header', '"a;b;c;d",id,lat,lon', 'z,A,40.03,-105.24', {'a;b;c;d': 'z'}),
    case('header of two lines', '"Two\nlines",id,lat,lon', '0012,A,40.03,-105.24', {'Two\nlines': '0012'}),
    case('blanks around', 'id,lat,lon,z,Länge', 'A,40.03,-105.24, 7 ,ñ', {'z': '7', 'Länge': 'ñ'})])
def test_other_columns_come_as_they_are(here, header, row, others):
    (place,), _ = read(here, f'{header}\n{row}\n')
    assert place == {**A, **others} and [*place] == [*A, *others]


def test_line_ends_within_a_value_stay(here):
    (place,), _ = read(here, 'id,lat,lon,note\r\nA,40.03,-105.24,"one\r\ntwo"\r\n')
    assert place == {**A, 'note': 'one\r\ntwo'}


def test_a_quote_that_means_nothing_but_by_a_wrong_separator(here):
    places, _ = read(here, 'id;lat;lon;pipe, "wide\n' + 'A;40,03;-105,24;x\n' + ';;;\n' * 50000)
    assert places == [{**A, 'pipe, "wide': 'x'}]


def test_a_german_table_of_excel(here):
    places, sentence = read(here, 'Name;Länge;X;Y;Höhe\r\nMünchen Süd;groß;11,5755;48,1372;519,5\r\n'
                            'Köln;;6,96;50,94;€ 5\r\n;;;;\r\n'.encode('cp1252'))
    assert places == [{'id': 'München Süd', 'longitude': 11.5755, 'latitude': 48.1372,
                       'Länge': 'groß', 'Höhe': '519,5'},
                      {'id': 'Köln', 'longitude': 6.96, 'latitude': 50.94, 'Länge': '', 'Höhe': '€ 5'}]
    assert sentence == ('points.csv: 2 places, columns Name as id, Y as latitude, X as longitude, '
                        'separated by semicolons, decimal commas, encoded in cp1252')


def test_order_and_name_of_the_file(here):
    (here / 'my data').mkdir()
    places, sentence = read(here, HEAD + 'b,1,2\na,3,4\nc,5,6\n', 'my data/sites.txt')
    assert [place['id'] for place in places] == ['b', 'a', 'c']
    assert sentence.startswith('my data/sites.txt: 3 places, ')


def test_many_places(here):
    places, sentence = read(here, HEAD + ''.join(f'plot {n},{n % 90},{-n % 180}\n' for n in range(30000)))
    assert len(places) == 30000 and places[-1]['id'] == 'plot 29999' and '30000 places' in sentence


# what is refused as a whole

@pytest.mark.parametrize('body,words', [
    case('empty', b'', 'POINTS: points.csv is empty.'),
    case('BOM alone', '\ufeff', 'POINTS: points.csv is empty.'),
    case('blank lines', '\n ,,\n,,\n', 'POINTS: points.csv is empty.'),
    case('semicolons alone', ';;;\r\n;;;\r\n', 'POINTS: points.csv is empty.'),
    case('tabs alone', '\t\t\n', 'POINTS: points.csv is empty.'),
    case('header alone', HEAD, 'POINTS: points.csv has no row below its header.'),
    case('header and blank lines', HEAD + ',,\n\n', 'POINTS: points.csv has no row below its header.'),
    case('no id', 'lat,lon\n1,2\n',
         "POINTS: line 1 of points.csv has the columns ['lat', 'lon'], separated by "
         'commas, semicolons or tabs, but none for id (id, name, site).'),
    case('bars', '\n\nid|lat|lon\n1|2|3\n', "line 3 of points.csv has the columns ['id|lat|lon']"),
    case('German names', 'Ort;Breite;Länge\nA;1;2\n',
         "['Ort', 'Breite', 'Länge'], separated by commas, semicolons or "
         'tabs, but none for id (id, name, site) and latitude (lat, latitude, y) and longitude (lon, '),
    case('no longitude', 'id,lat\n1,2\n', 'but none for longitude (lon, lng, long, longitude, x).'),
    case('no latitude', 'id,lon\n1,2\n', 'but none for latitude (lat, latitude, y).'),
    case('999 columns', ','.join(f'column {n}' for n in range(999)) + '\n1\n', 'none for id'),
    case('no header', 'A,40.03,-105.24\nB,40,5\n', "has the columns ['A', '40.03', '-105.24']"),
    case('two latitudes', 'id,lat,Y,lon\n1,2,2,3\n',
         'POINTS: line 1 of points.csv has more than one column for the latitude, lat and Y: '),
    case('the same twice', 'id,lat,lat,lon\n1,2,2,3\n',
         'more than one column for the latitude, lat and lat'),
    case('two longitudes', 'id,lat,lon,Longitude\n1,2,3,3\n',
         'more than one column for the longitude, lon and Longitude'),
    case('three longitudes', 'id,x,lat,lon,lng\n1,2,3,3,3\n', 'for the longitude, lon and lng and x'),
    case('two ids', 'id,ID,lat,lon\n1,2,3,3\n', "has 2 columns called 'id'"),
    case('three notes', 'id,lat,lon,Note,note,NOTE\n1,2,3,4,5,6\n', "has 3 columns called 'note'"),
    case('a column file', 'id,lat,lon,file\n1,2,3,4\n',
         "has a column 'file', which the list of chips has, too"),
    case('a column CRS', 'id,lat,lon,CRS\n1,2,3,4\n', "has a column 'crs', which"),
    case('a quote', HEAD + 'A,1,2\n"B,1,2\nC,1,2\n',
         "POINTS: points.csv, line 3: its quotes don't match ("),
    case('a quote and many lines', HEAD + 'A,1,2\n\n"B,1,2\n' + 'C,1,2\n' * 30000,
         "points.csv, line 4: its quotes don't match ("),
    case('a quote in a note', 'id,lat,lon,note\nA,1,2,"x\nB,1,2,y\nC,1,2,"z"\n',
         "line 2: its quotes don't match ("),
    case('a quote at the end', 'id,lat,lon,note\nA,1,2,"x\n2nd"\nB,1,2,"y',
         "line 4: its quotes don't match ("),
    case('a quote in the header', '"id,lat,lon\nA,1,2\n', "line 1: its quotes don't match ("),
    case('NUL', HEAD + 'A,1,2\nB\0,1,2\n', 'bytes that are no text'),
    case('UTF-16 without its mark', 'id,lat,lon\nA,1,2\n'.encode('utf-16-le'), 'bytes that are no text'),
    case('half a letter of UTF-16', HEAD.encode('utf-16') + b'A', 'bytes that are no text'),
    case('no letter of cp1252', HEAD.encode() + b'\x81,1,2\n', 'bytes that are no text'),
    case('a workbook', b'PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0',
         'bytes that are no text: save it as "CSV UTF-8".')])
def test_no_table_of_places(here, body, words):
    told = refused(here, body)
    assert words in told


def test_no_such_file(here):
    for name in 'points.csv', str(here / 'points.csv'):
        with pytest.raises(SystemExit) as ended:
            chips.read_places(name)
        assert ended.value.code == f'POINTS: there is no points.csv in {here}.'
    with pytest.raises(SystemExit) as ended:
        chips.read_places('data/points.csv')
    assert ended.value.code == f'POINTS: there is no points.csv in {here / "data"}.'


def test_what_cannot_be_read(here):
    (here / 'points.csv').mkdir()
    (here / 'a').write_text('')
    for name, words in (('points.csv', 'Is a directory'), ('a/b.csv', 'Not a directory')):
        with pytest.raises(SystemExit) as ended:
            chips.read_places(name)
        assert ended.value.code == f'POINTS: {name} cannot be read: {words}.'


# bad lines

@pytest.mark.parametrize('rows,told', [
    case('too few', 'A,1\n', 'line 2: not 3 values, as the header, but 2 (a decimal comma?).'),
    case('too many', 'A,40,03,-105,24\n', 'line 2: not 3 values, as the header, but 5 (a decimal comma?).'),
    case('blank lines before', 'A,1,2\n\n,,\nB,x,2\n',
         "line 5: latitude 'x' is no number of degrees like -105.24."),
    case('lines in an id', '"A\nB\nC",1,2\nD,1,x\n',
         "line 5: longitude 'x' is no number of degrees like -105.24."),
    case('lines in an id, empty number', 'A,1,2\n"B\nC",1,\n',
         "line 3: longitude '' is no number of degrees like -105.24."),
    case('no id', ',1,2\n', 'line 2: the id is empty.'),
    case('blank id', '" ",1,2\n', 'line 2: the id is empty.'),
    case('twice', 'B,1,2\n\nA,1,2\nC,1,2\nD,1,2\nE,1,2\nF,1,2\nA,1,2\n',
         "line 9: the id 'A' is that of line 4, too."),
    case('three times', 'A,1,2\nA,3,4\nA,5,6\n',
         "line 3: the id 'A' is that of line 2, too; line 4: the id 'A' is that of line 2, too."),
    case('twice but for blanks', 'A,1,2\n A ,3,4\n', "line 3: the id 'A' is that of line 2, too."),
    case('twice but for case', 'A,1,2\na,3,4\n', "line 3: the id 'a' gives the file of line 2, too."),
    case('two files alike', 'A/B,1,2\nX,1,2\na b,3,4\n',
         "line 4: the id 'a b' gives the file of line 2, too."),
    case('two ways of a tilde', 'Mun\u0303oz,1,2\nMu\u00f1oz,3,4\n',
         "line 3: the id 'Muñoz' gives the file of line 2, too."),
    case('alike where cut', f'{"a" * 300}b,1,2\n{"a" * 300}c,1,2\n',
         f"line 3: the id '{'a' * 24} gives the file of line 2, too."),
    case('mixture', 'A,95,2\nB,1,254.76\nC,1,2\n,1,2\n',
         "line 2: latitude '95' is outside of -90..90 degrees (swapped?); "
         "line 3: longitude '254.76' is above 180: subtract 360; line 5: the id is empty.")])
def test_bad_lines(here, rows, told):
    assert refused(here, HEAD + rows) == f'POINTS: points.csv has mistakes: {told}'


def test_bad_lines_of_a_table_with_decimal_commas(here):
    assert refused(here, 'id;lat;lon\nA;1,5;2,5\nB;1,5\nC;1.234,5;2\n') == (
        'POINTS: points.csv has mistakes: line 3: not 3 values, as the header, but 2; '
        "line 4: latitude '1.234,5' is no number of degrees like -105.24.")


@pytest.mark.parametrize('count,more', [(9, 0), (10, 0), (11, 1), (17, 7), (30000, 29990)])
def test_the_first_ten_bad_lines(here, count, more):
    told = refused(here, HEAD + 'fine,1,2\n' + f'A,{"north" * 50},2\n' * count)
    lines = [int(line) for line in re.findall(r'line (\d+): ', told)]
    assert lines == [*range(3, 3 + min(count, 10))]
    assert told.endswith(f'; ... and {more} more.') if more else 'more' not in told


@pytest.mark.parametrize('row', [
    case('text', 'A,' + 'x' * 99 + ',2'),
    case('number', f'A,{"9" * 99},2'),
    case('south', f'A,1,{"-" + "9" * 99}'),
    case('east', f'A,1,254.{"7" * 99}'),
    case('twice', 'a' * 99 + ',1,2'),
    case('alike', '7' * 99 + 'A,1,2'),
    case('few', '1'),
    case('no id', ',1,2'),
    case('A', 'A' * 99 + ',1,2'),
    case('longitude', f'A,1,{"x" * 99}')])
def test_ten_bad_lines_are_told_whole(here, row):
    """What is told of an error is cut somewhere beyond."""
    rows = f'{"A" * 99},1,2\n{"7" * 99}a,1,2\n' + '\n' * 123456 + f'{row}\n' * 20
    told = refused(here, HEAD + rows)
    assert told.endswith(' more.')


def test_each_bad_line_is_a_line(here):
    with pytest.raises(SystemExit) as ended:
        read(here, HEAD + ',1,2\n,1,2\n')
    assert ended.value.code.split('\n') == [
        'POINTS: points.csv has mistakes:', 'line 2: the id is empty;', 'line 3: the id is empty.']


# a row

@pytest.mark.parametrize('longitude,latitude,commas,place', [
    ('-105.24', '40.03', False, (-105.24, 40.03)), ('-105.24', '40.03', True, (-105.24, 40.03)),
    ('-105,24', '40,03', True, (-105.24, 40.03)), ('180', '90', False, (180, 90)),
    ('-180', '-90', False, (-180, -90)), ('0', '-0.0', False, (0, 0)),
    ('+7.', '.5', False, (7, 0.5)), ('1e2', '-1.5E+1', False, (100, -15))], ids=str)
def test_places_of_rows(longitude, latitude, commas, place):
    found = chips.read_place({'z': '1', 'latitude': latitude, 'longitude': longitude, 'id': '07', 'a': ''},
                       commas)
    assert found == {'id': '07', 'longitude': place[0], 'latitude': place[1], 'z': '1', 'a': ''}
    assert [*found] == ['id', 'longitude', 'latitude', 'z', 'a']
    assert type(found['longitude']) is type(found['latitude']) is float


@pytest.mark.parametrize('longitude,latitude,commas,words', [
    ('-105,24', '40.03', False, "longitude '-105,24' is no number"),
    ('1.234,5', '40', True, "longitude '1.234,5' is no number"),
    ('', '40', False, "longitude '' is no number"), ('2', '', False, "latitude '' is no number"),
    ('105W', '40', False, "longitude '105W' is no number"),
    ('2', '40°', False, "latitude '40°' is no number"),
    ('nan', '40', False, "longitude 'nan' is no number"),
    ('2', 'NaN', False, "latitude 'NaN' is no number"),
    ('inf', '40', False, "longitude 'inf' is no number"),
    ('2', '-Infinity', False, "latitude '-Infinity' is no number"),
    ('1_0', '40', False, "longitude '1_0' is no number"),
    ('.', '40', False, "longitude '.' is no number"), ('- 5', '4', False, "longitude '- 5' is no"),
    ('1e999', '40', False, "longitude '1e999' is outside of -180..180"),
    ('254.76', '40', False, "longitude '254.76' is above 180: subtract 360"),
    ('254,76', '40', True, "longitude '254,76' is above 180: subtract 360"),
    ('180.01', '40', False, 'subtract 360'), ('360', '40', False, 'subtract 360'),
    ('360.01', '40', False, "longitude '360.01' is outside of -180..180 degrees (swapped?)"),
    ('-180.01', '40', False, "longitude '-180.01' is outside of -180..180 degrees (swapped?)"),
    ('40.03', '-105.24', False, "latitude '-105.24' is outside of -90..90 degrees (swapped"),
    ('2', '90.01', False, "latitude '90.01' is outside of -90..90 degrees (swapped"),
    ('2', '90.0001', False, "latitude '90.0001' is outside"),
    ('2', '4430000', False, "'4430000' is outside of -90..90 degrees")])
def test_rows_that_are_no_places(longitude, latitude, commas, words):
    with pytest.raises(ValueError) as error:
        chips.read_place({'id': 'A', 'longitude': longitude, 'latitude': latitude}, commas)
    assert words in str(error.value) and len(str(error.value)) < 100


# names


# the names of their files

def short(name):
    return f'{name!r:.20} of {len(name)}'


@pytest.mark.parametrize('number,name', [
    ('A', 'A.png'), ('plot 1', 'plot_1.png'), ('a\tb\nc\u00a0d  e', 'a_b_c_d__e.png'),
    ('A/B\\C', 'A_B_C.png'), ('a:b*c?d"e<f>g|h', 'a_b_c_d_e_f_g_h.png'), ('a\x07b', 'a_b.png'),
    ('Ñ-7.b (2)', 'Ñ-7.b_(2).png'), ('.5', '_.5.png'), ('..', '_.png'), ('../x', '_.._x.png'),
    ('', '_.png'), ('5.', '5.png'), ('CON', 'CON_.png'), ('con', 'con_.png'),
    ('aux.2', 'aux_.2.png'), ('LPT1', 'LPT1_.png'), ('com1', 'com1_.png'),
    ('Console', 'Console.png'), ('Mun\u0303oz', 'Mu\u00f1oz.png'), ('x' * 300, 'x' * 190 + '.png'),
    ('é' * 300, 'é' * 95 + '.png'), ('x' + 'é' * 300, 'x' + 'é' * 94 + '.png')], ids=short)
def test_names_of_chips(number, name):
    assert chips.file_name(number, 'png') == name
    chips.check_name('', name)  # ends the run if a list can't have it


def test_names_of_chips_that_a_list_can_have():
    """Whatever an id holds."""
    for number in ('nul.', 'con.' * 70, 'a.' * 100, ' ' * 300, '/' * 300, 'COM¹', '~', '\x7f',
                   ''.join(map(chr, range(1, 500)))):
        chips.check_name('', chips.file_name(number, 'geojson'))


# the command

PLACES = {'plot 1': (-105.5, 39.0), 'A/B': (-104.123456789012, 38.5), 'Ñ-7.b': (-108.2, 37.3),
          '.5': (-105.6, 39.1), 'CON': (-105.7, 39.2), 'aux.2': (-105.7, 39.3)}


def test_own_points(folder):
    """Chips are named after the id and show their place; all columns are listed, to the digit."""
    (folder.path / 'points.csv').write_bytes(
        '\ufeffid,name,lon,lat\r\nplot 1,x,-105.5,39.0\r\nA/B,"y, z",-104.123456789012,38.5\r\n'
        'Ñ-7.b,,-108.2,37.3\r\n.5,,-105.6,39.1\r\nCON,,-105.7,39.2\r\naux.2,,-1.057e2,39.3\r\n'.encode())
    printed = folder.edit('chips.py', POINTS='points.csv', SIZE=32).run('chips.py')
    assert said(printed)[0] == ('points.csv: 6 places, columns id, lat as latitude, lon as longitude')
    rows = folder.table('chips/chips.csv')
    assert list(rows[0]) == ['file', 'id', 'longitude', 'latitude', 'name', 'crs']
    assert [row['file'] for row in rows] == ['plot_1.png', 'A_B.png', 'Ñ-7.b.png', '_.5.png', 'CON_.png',
                                             'aux_.2.png']
    assert {row['id']: (float(row['longitude']), float(row['latitude'])) for row in rows} == PLACES
    assert [row['name'] for row in rows][:3] == ['x', 'y, z', '']
    for row in rows:
        found = np.array(Image.open(folder.path / 'chips' / row['file']))
        assert alike(found, expected(row, 32, 1)[..., :3]) > 0.99


def test_a_table_as_excel_writes_it_in_german(folder):
    """Semicolons, decimal commas, cp1252, an own column in the list; and the chips are right."""
    (folder.path / 'Flächen.csv').write_bytes(
        'Name;Höhe;Latitude;Longitude\r\nMünster Süd;1.519,5;40,03;-105,24\r\n'
        'Köln;;39,98;-105,5\r\n;;;\r\n'.encode('cp1252'))
    printed = folder.edit('chips.py', POINTS='Flächen.csv', SIZE=32).run('chips.py')
    assert said(printed)[0] == ('Flächen.csv: 2 places, columns Name as id, Latitude, Longitude, '
                                'separated by semicolons, decimal commas, encoded in cp1252')
    rows = folder.table('chips/chips.csv')
    assert [[*row.values()] for row in rows] == [
        ['Münster_Süd.png', 'Münster Süd', '-105.24', '40.03', '1.519,5', 'EPSG:32613'],
        ['Köln.png', 'Köln', '-105.5', '39.98', '', 'EPSG:32613']]
    for row in rows:
        found = np.array(Image.open(folder.path / 'chips' / row['file']))
        assert alike(found, expected(row, 32, 1)[..., :3]) > 0.99


@pytest.mark.parametrize('text,words', [
    pytest.param('id,lon,lat\n1,2\n7,-105,5,40,1\n8,40,-105\n',
                 ['line 2', 'line 3', 'decimal comma', 'line 4', "'-105'", 'swapped'], id='lines'),
    pytest.param(None, ['there is no points.csv in '], id='missing')])
def test_points_that_are_not_understood(folder, standin, text, words):
    """A line for each, before anybody has signed in."""
    standin.set(no_credentials=True)
    if text:
        (folder.path / 'points.csv').write_text(text)
    lines = said(folder.edit('chips.py', POINTS='points.csv').run('chips.py', status=1))
    assert lines[0].startswith('POINTS: ') and len(lines) == (4 if text else 1)
    assert all(word in ' '.join(lines) for word in words), lines
    assert not standin.counts()['requests']


# items

def items(*more, **changed):
    """Three items; more are added to the keys of the second, or changed."""
    return [{'file': '0.png', 'x': 1}, {'file': '1.png', 'x': 2, **changed}, {'file': '2.png', 'x': 3},
            *more]


BAD_ITEMS = [case(*row) for row in (
    ('none', [], ['getRequests() found nothing']), ('None', None, ['getRequests() found nothing']),
    ('no-dict', [*items(), '3.png'], ['item 3', 'str', "'3.png'"]),
    ('no-file', [{'name': '0.png'}], ['item 0', "no 'file'"]),
    ('no-file-later', [*items(), {'x': 5}], ['item 3', "no 'file'", "{'x': 5}"]),
    ('more-keys', items(extra=1), ['item 1', "['file', 'x', 'extra']", "['file', 'x']", 'item 0']),
    ('fewer-keys', [*items(), {'file': '3.png'}], ['item 3', "['file']", "['file', 'x']"]),
    ('twice', items({'file': '0.png', 'x': 5}), ['item 3', "'0.png'", 'item 0']),
    ('twice-but-for-case', items({'file': '0.PNG', 'x': 5}), ['item 3', "'0.PNG'", 'item 0', 'letters']),
    ('twice-but-for-case-abroad', items({'file': 'É.png', 'x': 5}, {'file': 'é.png', 'x': 6}),
     ['item 4', "'é.png'", 'item 3', 'other letters']),
    ('name-of-the-index', items(file='chips.csv'), ['item 1', "'chips.csv'", 'the index']),
    ('name-of-the-index-in-capitals', items(file='Chips.CSV'), ['item 1', "'Chips.CSV'", 'the index']),
    ('name-of-the-log', items(file='log.csv'), ['item 1', "'log.csv'"]),
    ('name-of-the-log-in-capitals', items(file='LOG.csv'), ['item 1', "'LOG.csv'"]),
    ('a-file-in-a-file', items({'file': '0.png/b.json', 'x': 5}), ["'0.png/b.json'", "folder '0.png'"]),
    ('a-folder-for-a-file', items({'file': 'b/c', 'x': 5}, {'file': 'B', 'x': 5}), ["'b/c'", 'folder']),
    ('a-file-in-the-index', items(file='chips.csv/1.png'), ["'chips.csv/1.png'"]),
    ('path', items(file=__import__('pathlib').Path('1.png')), ['item 1', "'file'", 'text']),
    ('number-as-a-file', items(file=1), ['item 1', "'file'", 'text']),
    ('set', items(x={1, 2}), ['item 1', "'x'", '{1, 2}', 'set']),
    ('bytes', items(x=b'a'), ['item 1', "'x'", 'bytes']),
    ('in-a-list', items(x=[np.float32(1)]), ['item 1', "'x'", 'float32']),
    ('numpy-integer', items(x=np.int64(1)), ['item 1', "'x'", 'int64', 'int()']),
    ('numpy-float32', items(x=np.float32(1)), ['item 1', "'x'", 'float32', 'float()']),
    ('NaN', items(x=float('nan')), ['item 1', "'x': nan", 'None for NaN']),
    ('infinity', items(x=float('inf')), ['item 1', "'x': inf"]),
    ('no-list', 5, ['getRequests() returned', 'int']))]


@pytest.mark.parametrize('found,words', BAD_ITEMS)
def test_items_that_cannot_be(found, words):
    """Each mistake of getRequests() has a sentence of its own, with the item."""
    with pytest.raises(SystemExit) as ended:
        chips.checked(found)
    told = ended.value.code
    assert told.startswith('getRequests()') and all(word in told for word in words), told


def test_each_mistake_of_a_list_has_its_own_sentence():
    """With item, names and values left out no two kinds of mistakes read the same."""
    told = {}
    for case in BAD_ITEMS:
        if case.id in ('None', 'no-dict', 'no-file', 'more-keys', 'twice', 'a-file-in-a-file', 'path', 'NaN',
                       'set'):
            with pytest.raises(SystemExit) as ended:
                chips.checked(case.values[0])
            told[case.id] = re.sub(r"'[^']*'|\d+|\[.*?\]|\{.*?\}", '', ended.value.code)
    assert len({*told.values()}) == len(told) == 9


@pytest.mark.parametrize('name', [
    '../escape.png', '/tmp/escape.png', 'a/../b.png', '', '.', '..', '.lock', 'a/.b', 'a//b.png', 'a/',
    'CON.png', 'com1.txt', 'LPT9', 'x/nul', 'abc:def.png', 'a\\b.png', 'end.', 'end ', 'end /b.png',
    'two\nlines.png', 'tab\t.png', 'nul\0.png', 'what?.png', 'all*.png', '<a.png', 'b>.png', 'a|b.png',
    'quo"te.png', 'x' * 201, 'x' * 300, 'x/' + 'é' * 101], ids=short)
def test_names_that_cannot_be(name):
    with pytest.raises(SystemExit) as ended:
        chips.checked(items(file=name))
    told = ended.value.code
    assert told.startswith('getRequests(): item 1 has the file ')
    assert repr(name) in told or len(name) > 100 and repr(name)[1:20] in told and '...' in told


def test_a_list_that_cannot_be_is_told_by_the_command(folder, standin):
    """And nothing is written, neither here nor there."""
    add_code(folder, """
        def getRequests():
            for n, name in enumerate(['a.png', '../escape.png']):
                yield {'file': name, 'n': n}
        """)
    line, = said(folder.run('chips.py', status=1))
    assert line.startswith("getRequests(): item 1 has the file '../escape.png'")
    assert not list(folder.path.parent.rglob('escape*')) and not folder.files('chips')
    assert not standin.counts()['results']


LIST = """
    def getRequests():
        place = -105.24, 40.03
        for n, name in enumerate(['2019/x.png', 'Ñuñoa, (A).png', '2019/7/Console.png', "O'Higgins;.png"]):
            item = {'file': name, 'pair': (n, 2), 'where': {1: None}, 'longitude': place[0] + n / 10,
                    'latitude': float(place[1])}
            yield item if n % 2 else dict(sorted(item.items()))


    from_above = getResult


    @retry(**PATIENCE)
    def getResult(index, point):
        check(point['pair'] == [index, 2] and point['where'] == {'1': None}, f'{point} is another')
        from_above(index, point)
    """


def test_a_list_that_can_be(folder):
    """A generator; folders and odd characters; keys in any order; tuples and numbers as keys, which
    JSON doesn't know, are the same in each run."""
    folder.edit('chips.py', SIZE=8)
    add_code(folder, LIST).run('chips.py')
    rows = folder.table('chips/chips.csv')
    assert [*rows[0]] == ['file', 'latitude', 'longitude', 'pair', 'where']
    assert [row['longitude'] for row in rows] == ['-105.24', '-105.14', '-105.03999999999999', '-104.94']
    assert {row['file'] for row in rows} == set(folder.files('chips')) - {'chips.csv'} == {
        '2019/x.png', 'Ñuñoa, (A).png', '2019/7/Console.png', "O'Higgins;.png"}
    (folder.path / 'chips' / '2019' / 'x.png').unlink()
    assert '4 of 4 are in chips' in folder.run('chips.py')


def test_the_longest_names_that_can_be():
    """200 bytes of each part, so that a part file's name, which is longer, fits, too."""
    name = 'x' * 200 + '/' + 'é' * 100
    assert [*chips.checked(items(file=name))][1] == name


def test_numbers_that_json_knows():
    """numpy's usual float is one of Python's."""
    found = chips.checked(items(x=np.float64(1.5)))
    assert found['1.png'] == {'file': '1.png', 'x': 1.5} and json.dumps(found)


@pytest.mark.skipif(not shutil.which('git') or not (HERE.parent / '.git').exists(), reason='no git here')
def test_top_level_holds_what_it_should():
    listed = subprocess.run(['git', 'ls-files'], cwd=HERE.parent, capture_output=True, text=True,
                            check=True).stdout
    assert {name.split('/')[0] for name in listed.splitlines() if name[0] != '.'} == {
        'README.md', 'chips.py', 'requirements.txt', 'tests', 'timeseries.py'}
