"""A changed script, table or folder: what is refused, what --keep takes, and what is left alone."""
import json
import re

import numpy as np
import pytest
from PIL import Image

from conftest import hasten, said
from test_chips import MIDDLE, add_code, alike, chips, expected, load, write_points

WEST, FAR, ABROAD = (-105.34, 40.03), (-105.44, 40.03), (10, 45)  # NAIP has nothing of the last
FEW = dict(POINTS_PER_ECOREGION=1, SIZE=8)


def shows(folder, row, output='chips'):
    """Whether a chip of 8 x 8 pixels shows the place that its row of the index tells."""
    found = np.array(Image.open(folder.path / output / row['file']))
    return alike(found, expected(row, 8, 1)[..., :3]) > 0.98


def last(printed):
    """The last line that a run printed."""
    return said(printed)[-1]


SMALL = """
    def getRequests():
        return [{{'file': f'{{n}}.json', 'n': n}} for n in {numbers}]


    @retry(**PATIENCE)
    def getResult(index, item):
        save(item, lambda: json.dumps(ee.Number(item['n']).add({add}).getInfo()).encode())
    """


def small(folder, numbers='range(3)', add=100, **constants):
    """Makes chips.py one that asks for sums of numbers, which needs no image."""
    add_code(folder, SMALL.format(numbers=numbers, add=add))
    return folder.edit('chips.py', **constants)


# what is refused

def test_a_changed_constant_is_refused_with_the_old_and_the_new_value(folder, standin):
    folder.edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=8).run('chips.py')
    before = folder.files('chips')
    standin.reset()
    line, = said(folder.edit('chips.py', SCALE=2, MAX=3000).run('chips.py', status=1))
    assert line.startswith('MAX is 3000 now and was 255; SCALE is 2 now and was 1. The results in chips '
                           'were made before that. Change it back,') and '--keep' in line
    assert not standin.counts()['requests'] and folder.files('chips') == before
    folder.edit('chips.py', SCALE=1, MAX=255, PROCESSES=3, DEADLINE=9, PAUSES=[5],
                PROJECT='standin-project')
    hasten(folder)  # changes PATIENCE
    (folder.path / 'chips').rename(folder.path / 'renamed')
    folder.edit('chips.py', OUTPUT='renamed')
    text = (folder.path / 'chips.py').read_text()
    text = re.sub('  #.*', '', text).replace('# places', '# points')
    text = text.replace("BANDS = ['R', ", "BANDS = [\n    'R', ")
    text = text.replace('"""Downloads', 'r"""Fetches', 1)
    text = text.replace('import ast\n', 'import ast\nimport math\n', 1)
    text = text.replace('"""Saves the chip around a point', '"""The one around a point')
    text = text.replace('if POINTS:\n        say', 'if POINTS and SIZE:\n        say').replace('misspelt?', 'wrong?')
    (folder.path / 'chips.py').write_text(text)
    # comments, docstrings, layout, imports, sentences, where it is and how it is run don't count
    folder.run('chips.py')
    assert folder.files('renamed') == before and not standin.counts()['requests']


def now(folder, monkeypatch):
    """The recipe of chips.py as it is now, by importing it where it is."""
    monkeypatch.chdir(folder.path)
    return load(folder).recipe()


def test_what_else_is_a_change(folder, monkeypatch):
    """A function's text, a default argument, a new function, class or constant; no comment or layout."""
    add_code(small(folder), '''
        def double(number, times=2):
            """Returns it twice."""
            return number * times

        @functools.lru_cache(7)
        def once():
            return 1

        if SEED < 9:
            @functools.lru_cache(9)
            def triple(number):
                return number * 3

        if SEED > 9:
            def quadruple(number):
                return 4 * number
            class Square:
                side = 7
        else:
            def quadruple(number):
                """Or twice the double."""
                return number << 2
            class Square:
                def area(self):
                    """Square metres."""
                    return 49

        OBJECT = map(str, range(9))
        OBJECT = zip(OBJECT, [1, 2])
        ''')
    text = (folder.path / 'chips.py').read_text()
    then = now(folder, monkeypatch)
    for old, new, told in (
            ('return number * times', 'return times * number', ['double() has changed']),
            ('times=2', 'times=3', ['double() has changed']),
            ('.add(100)', '.add(101)', ['getResult() has changed']),
            ('number * 3', 'number * 4', ['triple() has changed']),
            ('lru_cache(9)', 'lru_cache(8)', ['triple() has changed']),
            ('lru_cache(7)', 'lru_cache(6)', ['once() has changed']),
            ('SEED = 0', 'SEED = 0\ncolour = "red"', ['colour is new']),
            ('SEED = 0', 'SEED = 0\nclass Plot:\n    length = 5', ['Plot() is new']),
            ('SEED = 0', 'SEED = 0\nif SEED:\n    def plot():\n        length = 5', ['plot is new']),
            ('SEED = 0', 'SEED = 1 - 1  # the same', []),
            ('return 4 * number', 'return 5 * number', ['Square() has changed', 'quadruple() has changed']),
            ('return number << 2', 'return number << 3', ['Square() has changed', 'quadruple() has changed']),
            ('side = 7', 'side = 8', ['Square() has changed', 'quadruple() has changed']),
            ('Or twice the double.', 'Or so.', []), ('Square metres.', 'In metres.', []),
            ('range(9)', 'range(8)', ['OBJECT is map(str, range(8)); zip(OBJECT, [1, 2]) now and was '
                                      'map(str, range(9)); zip(OBJECT, [1, 2])']),
            ('zip(OBJECT, [1, 2])', 'zip(OBJECT, [1, 3])', [
                'OBJECT is map(str, range(9)); zip(OBJECT, [1, 3]) now and was '
                'map(str, range(9)); zip(OBJECT, [1, 2])']),
            ('def double', 'def twice', ['double() is gone', 'twice() is new']),
            ('return number * times', '# of both\n    return (number  # one\n        * times)', [])):
        assert text.count(old) == 1
        (folder.path / 'chips.py').write_text(text.replace(old, new))
        assert chips.changes(then, now(folder, monkeypatch)) == told


def test_constants_that_are_computed_are_compared_by_value(folder, monkeypatch):
    """The environment, the text and the content of a file, a file that a constant names; also days,
    bytes, sets and arrays, which JSON doesn't know."""
    monkeypatch.setenv('DAY_OF_TEST', '2026-11-30')
    for name in 'note.txt', 'table.json', 'named.geojson', 'path.csv', 'bytes', 'set':
        (folder.path / name).write_text('[1, 2]')
    np.save(folder.path / 'array.npy', [1, 2])
    add_code(folder, '''
        import numpy

        TODAY = datetime.date.fromisoformat(os.environ['DAY_OF_TEST'])
        LAST = str(TODAY)
        NOTE = open('note.txt').read()
        TABLE = json.load(open('table.json'))
        NAMED = 'named.geojson'
        PATH = pathlib.Path('path.csv')
        BYTES = open('bytes', 'rb').read()
        SET = {*open('set').read(), frozenset({'B2', 'B3', 'B4'})}
        ARRAY = numpy.load('array.npy')
        ''')
    then = now(folder, monkeypatch)
    assert chips.changes(then, now(folder, monkeypatch)) == []
    monkeypatch.setenv('DAY_OF_TEST', '2026-12-01')
    assert chips.changes(then, now(folder, monkeypatch)) == [
        "LAST is '2026-12-01' now and was '2026-11-30'", "TODAY is '2026-12-01' now and was '2026-11-30'"]
    monkeypatch.setenv('DAY_OF_TEST', '2026-11-30')
    for name, told in (('note.txt', "NOTE is '[3, 4]' now and was '[1, 2]'"),
                       ('table.json', 'TABLE is [3, 4] now and was [1, 2]'),
                       ('named.geojson', 'the file named.geojson has changed'),
                       ('path.csv', 'the file path.csv has changed'),
                       ('bytes', 'BYTES is '), ('set', 'SET is ')):
        (folder.path / name).write_text('[3, 4]')
        line, = chips.changes(then, now(folder, monkeypatch))
        assert line.startswith(told), line
        (folder.path / name).write_text('[1, 2]')
    np.save(folder.path / 'array.npy', [1, 3])
    assert chips.changes(then, now(folder, monkeypatch)) == ['ARRAY is [1, 3] now and was [1, 2]']


def test_files_that_code_names_and_own_modules_count(folder, monkeypatch):
    """Wherever in the user's part; what appears later, as a script may write it, does not."""
    read = ['in_function.csv', 'in_list.csv', 'in_dict.csv', 'in_object.csv', 'helpers.py', 'inner.py', 'below.py',
            'package/__init__.py', 'package/deep.py']
    others = ['nowhere.csv', 'other.py', 'in_hint.csv']
    (folder.path / 'package').mkdir()
    for name in read + others:
        (folder.path / name).write_text('rows = 1')
    (folder.path / 'package' / 'deep.py').write_text('import below\nrows = 1')
    add_code(folder, '''
        import helpers as h
        from package.deep import rows

        TABLES = ['in_list.csv', {'name': 'in_dict.csv'}]
        OBJECT = map(str, open('in_object.csv').read())


        def own_places():
            import inner
            return open('in_function.csv').read(), open('written.csv')


        def hint():
            return open('in_hint.csv').read()
        ''')
    monkeypatch.syspath_prepend(folder.path)
    then = now(folder, monkeypatch)
    for name in [*read, *others, 'written.csv']:
        before = (folder.path / name).read_text() if name != 'written.csv' else ''
        (folder.path / name).write_text(before + '# other')
        assert chips.changes(then, now(folder, monkeypatch)) == [f'the file {name} has changed'] * (name in read)
        (folder.path / name).write_text(before)
    (folder.path / 'in_function.csv').unlink()
    assert chips.changes(then, now(folder, monkeypatch)) == ['the file in_function.csv is gone']


def test_a_table_that_a_function_names_and_a_module_have_changed(folder):
    """By the command, and in another folder of the same name."""
    (folder.path / 'stations.txt').write_text('1 2 3')
    (folder.path / 'sums.py').write_text('MORE = 100')
    small(folder, "open('stations.txt').read().split()").replace('chips.py', "'n': n}", "'n': int(n)}")
    folder.replace('chips.py', 'add(100)', 'add(sums.MORE)')
    add_code(folder, 'import sums').run('chips.py')
    assert '3 of 3 were already' in folder.run('chips.py')
    (folder.path / 'stations.txt').write_text('1 2 3 4')
    (folder.path / 'sums.py').write_text('MORE = 200')
    line, = said(folder.run('chips.py', status=1))
    assert line.startswith('the file stations.txt has changed; the file sums.py has changed. The results in chips')
    (folder.path / 'sums.py').write_text('MORE = 100')
    assert '4 of 4 are in chips' in folder.run('chips.py', '--keep')


def test_the_time_of_day_as_a_constant_is_a_change(folder):
    """By the command, too."""
    add_code(small(folder), 'NOW = time.time()').run('chips.py')
    line, = said(folder.run('chips.py', status=1))
    assert re.match(r'NOW is [\d.]+ now and was [\d.]+\. ', line)


@pytest.mark.parametrize('method', ['fork', 'forkserver', 'spawn'])
def test_constants_of_every_kind_stay_the_same(folder, standin, method):
    """Sets, whose order is another in each process, objects, functions: by their text."""
    folder.cold = True  # or it would be the same, as would be addresses
    standin.set(start_method=method)
    add_code(small(folder, PROCESSES=2), '''
        STATES = {'Colorado', 'Utah', 'Kansas', 'Nevada', *'abcdefghijkl'}
        BANDS_OF = {frozenset('abcdefghijkl'), frozenset('mnopqrstuvw')}
        PAIRS = map(str, [1, 2])
        THING = object()
        if THING:
            def within(text="""
        of less indent"""):
                return text
        DOUBLE = lambda number: 2 * number
        ''')
    for _ in range(2):
        folder.run('chips.py')
        (folder.path / 'chips' / '2.json').unlink()
    folder.replace('chips.py', "'Nevada', *", "'Oregon', *")
    line, = said(folder.run('chips.py', status=1))
    assert re.fullmatch('STATES is .*"Oregon".* now and was .*"Nevada".*', line), line


def test_a_copy_of_the_index_is_no_input(folder):
    """A constant that names a file of the folder of results names none of where one is."""
    (folder.path / 'chips.csv').write_text('of another time')
    small(folder).run('chips.py')
    (folder.path / 'chips.csv').write_bytes(folder.files('chips')['chips.csv'])
    folder.run('chips.py')


@pytest.mark.parametrize('made', ['ee.Geometry.Point(0, 0)', 'ee.ImageCollection("USDA/NAIP/DOQQ")',
                                  'ee.Reducer.max()', '[ee.Number(1)]'])
def test_an_earth_engine_object_as_a_constant(folder, standin, made):
    """One line that says what to do, and not to sign in."""
    line, = said(add_code(folder, f'AREA = {made}').run('chips.py', status=1))
    assert 'inside functions, not as constants' in line and ('AREA' in line or 'chips.py, line ' in line)
    assert 'uthenticate' not in line and not standin.counts()['requests']


def test_an_earth_engine_object_behind_a_sign_in_of_ones_own(folder):
    """Where it can be made; its text says too little of it to be compared."""
    code = 'ee.Initialize()\nAREA = ee.Geometry.Point(0, 0).buffer(9)'
    line, = said(add_code(folder.edit('chips.py', **FEW), code).run('chips.py', status=1))
    assert line.startswith('AREA is an Earth Engine object: ') and 'inside functions' in line


@pytest.mark.parametrize('then,now,told', [
    pytest.param({'A': '1'}, {'A': '1'}, [], id='none'),
    pytest.param({'A': '1', 'B': '"x"', 'C': 'null'}, {'A': '2', 'B': '"y"', 'C': '[true]'},
                 ['A is 2 now and was 1', "B is 'y' now and was 'x'", 'C is [True] now and was None'], id='values'),
    pytest.param({'A': '-' * 90 + 'one' + '-' * 90}, {'A': '-' * 90 + 'two' + '-' * 90},
                 [f'A is ...{"-" * 10}two{"-" * 12}...{"-" * 28} now and was '
                  f'...{"-" * 10}one{"-" * 12}...{"-" * 28}'], id='long values'),
    pytest.param({'A': '1'}, {}, ['A is gone'], id='gone'),
    pytest.param({}, {'f()': 'def f(): pass'}, ['f() is new'], id='new'),
    pytest.param({'f()': 'def f(): pass'}, {'f()': 'def f(): return'}, ['f() has changed'], id='function'),
    pytest.param({'f()': "def f():\n    return f'{\",\"}'"}, {'f()': '''def f():\n    return f"{','}"  # so'''}, [],
                 id='another version of Python'),
    pytest.param({'f()': 'def f():\n    """A."""'}, {'f()': 'def f():\n    """B."""\n    return 1'},
                 ['f() has changed'], id='a docstring alone'),
    pytest.param({'f()': '@a\ndef f(): pass'}, {'f()': '@b\ndef f(): pass'}, ['f() has changed'], id='decorator'),
    pytest.param({'the file a.csv': '12'}, {'the file a.csv': '34'}, ['the file a.csv has changed'],
                 id='file')])
def test_changes_in_words(then, now, told):
    assert chips.changes(then, now) == told


def test_many_changes_are_counted_and_long_values_cut(folder):
    small(folder).run('chips.py')
    folder.edit('chips.py', SIZE=1, SCALE=3, SEED=4, MIN=5, MAX=6, START='2016-01-01', END='2017-01-01',
                BANDS=[f'band {n}' for n in range(1000)], FORMAT='tif')
    line, = said(folder.run('chips.py', status=1))
    assert line.count(' now and was ') == 5 and '; ...' in line and len(line) < 900
    assert 'band 0' in line and 'band 999' in line and 'band 500' not in line and '--keep' in line


# tables of places

def test_a_changed_table_of_places(folder, standin):
    """A latitude corrected, a row added, the old chip deleted: nothing comes from the old place."""
    write_points(folder, MIDDLE, WEST, FAR).edit('chips.py', SIZE=8).run('chips.py')
    before = folder.files('chips')
    write_points(folder, MIDDLE, (WEST[0], 40.05), FAR, (-105.54, 40.03))
    (folder.path / 'chips' / '1.png').rename(folder.path / 'old.png')
    standin.reset()
    told = last(folder.run('chips.py', status=1))
    assert told.startswith('the file points.csv has changed. The results in chips') and '--keep' in told
    assert not standin.counts()['requests']
    (folder.path / 'old.png').rename(folder.path / 'chips' / '1.png')
    told = last(folder.run('chips.py', '--keep', status=1))
    assert told.startswith('Of 3 results in chips 1 has another latitude in the new list (1.png). ')
    assert 'Delete ' in told and '--keep again' in told and len(told) < 300
    assert folder.files('chips') == before and not standin.counts()['results']
    (folder.path / 'chips' / '1.png').unlink()
    assert '4 of 4 are in chips' in folder.run('chips.py', '--keep')
    assert standin.counts()['results'] == 2
    rows = folder.table('chips/chips.csv')
    assert [row['latitude'] for row in rows] == ['40.03125', '40.05', '40.03', '40.03']
    assert all(shows(folder, row) for row in rows)
    after = folder.files('chips')
    assert {name: after[name] for name in ('0.png', '2.png')} == {
        name: before[name] for name in ('0.png', '2.png')}
    assert '4 of 4 were already' in folder.run('chips.py')  # from now on this is the list


def test_keep_takes_a_list_that_has_grown(folder, standin):
    """Without it the changed file is told; a table with more columns is no other list."""
    write_points(folder, MIDDLE, WEST).edit('chips.py', SIZE=8).run('chips.py')
    before = folder.files('chips')
    (folder.path / 'points.csv').write_text(
        f'id,lon,lat,slope\n0,{MIDDLE[0]},{MIDDLE[1]},7\n1,{WEST[0]},{WEST[1]},8\n2,{FAR[0]},{FAR[1]},9\n')
    standin.reset()
    assert '3 of 3 are in chips' in folder.run('chips.py', '--keep')
    assert standin.counts()['results'] == 1
    assert {name: body for name, body in folder.files('chips').items()
            if name not in ('2.png', 'chips.csv')} == {name: before[name] for name in ('0.png', '1.png')}
    assert [(row['file'], row['slope']) for row in folder.table('chips/chips.csv')] == [
        ('0.png', '7'), ('1.png', '8'), ('2.png', '9')]


@pytest.mark.parametrize('more', [1, 2, 5])
def test_what_does_not_fit_a_new_list_is_counted_and_named(folder, standin, more):
    """Others and gone ones, three names of each; what to do; nothing of the folder is touched."""
    small(folder, f'range({more + 4})').run('chips.py')
    before = folder.files('chips')
    listed = (folder.path / 'chips' / '.list.json').read_bytes()
    small(folder, '[0, 1]')
    add_code(folder, '''
        some = getRequests


        def getRequests():
            others = [{'file': f'{n}.json', 'n': -n} for n in range(2, 4)]
            return some() + others
        ''')
    told = last(folder.run('chips.py', '--keep', status=1))
    names = [f'{n}.json' for n in range(4, more + 4)]
    shown = ', '.join(names[:3]) + ', ...' * (more > 3)
    assert told.startswith(f'Of {more + 4} results in chips 2 have another n in the new list (2.json, '
                           f'3.json) and {more} {"is" if more == 1 else "are"} not in the new list ({shown}). Delete'), told
    assert folder.files('chips') == before
    assert (folder.path / 'chips' / '.list.json').read_bytes() == listed
    for name in '2.json', '3.json', *names:
        (folder.path / 'chips' / name).unlink()
    folder.run('chips.py', '--keep')
    assert [json.loads(folder.files('chips')[f'{n}.json']) for n in range(4)] == [100, 101, 98, 97]


def test_items_that_never_came_may_be_others(folder):
    """What is compared is what has come."""
    small(folder).run('chips.py', '--first', '1')
    came, = {*folder.files('chips')} - {'chips.csv'}
    add_code(folder, f'''
        def getRequests():
            return [{{'file': f'{{n}}.json', 'n': n if f'{{n}}.json' == '{came}' else 7}} for n in range(5)]
        ''')
    assert '5 of 5 are in chips' in folder.run('chips.py', '--keep')


@pytest.mark.parametrize('came,new,words', [
    pytest.param({'a': {'file': 'a', 'x': 1}}, {'a': {'file': 'a', 'x': 1, 'y': 2}}, None, id='more keys'),
    pytest.param({'a': {'file': 'a', 'x': 1, 'y': 2}}, {'a': {'file': 'a', 'x': 1}}, ['1 has another y'],
                 id='fewer keys'),
    pytest.param({'a': {'file': 'a', 'x': None}}, {'a': {'file': 'a'}}, ['1 has another x'],
                 id='a key that was None'),
    pytest.param({'a': {'file': 'a', 'x': 1}}, {'b': {'file': 'b', 'x': 1}},
                 ['1 is not in the new list (a)'], id='gone'),
    pytest.param({name: {'file': name, 'x': 1, 'y': 1} for name in 'abcd'},
                 {name: {'file': name, 'x': 1 + (name == 'a'), 'y': 2} for name in 'abcd'},
                 ['Of 4 results', '4 have another x, y', '(a, b, c, ...)'], id='four')])
def test_lists_compared(came, new, words):
    if words is None:
        chips.compare(came, new)
        return
    with pytest.raises(SystemExit) as ended:
        chips.compare(came, new)
    assert all(word in ended.value.code for word in words), ended.value.code


# --keep

def test_keep_goes_on_with_a_mended_script(folder, standin):
    add_code(small(folder, 'range(20)'), '''
        from_above = getResult


        def getResult(index, item):
            if index % 2:
                {}['odd']
            from_above(index, item)
        ''')
    told = folder.run('chips.py', status=1)
    assert '10 failed' in told and 'with --keep' in told  # it is the way on, as it says
    before = folder.files('chips')
    folder.replace('chips.py', "{}['odd']", 'pass')
    assert said(folder.run('chips.py', status=1))[0].startswith('getResult() has changed. ')
    standin.reset()
    assert '20 of 20' in folder.run('chips.py', '--keep')
    assert standin.counts()['requests']['compute'] == {'200': 10}
    assert {name: body for name, body in folder.files('chips').items() if name in before} == before
    assert '20 of 20 were already' in folder.run('chips.py')  # from now on this is what it was made with


def test_keep_leaves_a_row_in_the_log(folder):
    """With what has changed; a run without a change says so, too."""
    write_points(folder, MIDDLE, WEST).edit('chips.py', SIZE=8).run('chips.py', '--first', '1')
    folder.edit('chips.py', SCALE=2).run('chips.py', '--keep')
    folder.run('chips.py', '--keep')
    first, second = [row['why'] for row in folder.log('chips') if row['outcome'] == 'keep']
    assert first.startswith('1 result') and first.endswith('SCALE is 2 now and was 1')
    assert second.startswith('2 results') and second.endswith('nothing has changed')
    assert [row['outcome'] for row in folder.log('chips')] == [
        'list', 'begun', 'done', 'keep', 'list', 'begun', 'done', 'keep', 'list']


def test_keep_leaves_remarks_and_says_what_is_kept(folder):
    """A remark of getResult() is told by each run, as long as its file is there."""
    add_code(small(folder, 'range(4)'), '''
        of_all = getResult


        def getResult(index, item):
            of_all(index, item)
            return 'an even one' * (index % 2 == 0)
        ''')
    assert '2 done: an even one (0.json, 2.json)' in folder.run('chips.py')
    (folder.path / 'chips' / '2.json').unlink()
    printed = folder.edit('chips.py', SIZE=9).run('chips.py', '--keep')
    assert 'Kept as they are: 3 of 4 items. Since they were made: SIZE is 9 now and was 256.' in printed
    assert '2 done: an even one (0.json, 2.json)' in printed
    assert '2 done: an even one (0.json, 2.json)' in folder.run('chips.py')


def test_chips_of_both_kinds_after_keep(folder):
    """What came before a change stays byte for byte, and what comes is of the new kind."""
    write_points(folder, MIDDLE, WEST, FAR).edit('chips.py', SIZE=8).run('chips.py', '--first', '2')
    before = folder.files('chips')
    folder.edit('chips.py', MIN=100, MAX=200).run('chips.py', '--keep')
    after, rows = folder.files('chips'), folder.table('chips/chips.csv')
    assert {name: after[name] for name in before} == before
    other, = [row for row in rows if row['file'] not in before]
    shown = np.array(Image.open(folder.path / 'chips' / other['file'])).astype(int)
    truth = np.clip((expected(other, 8, 1)[..., :3].astype(float) - 100) * 2.55, 0, 255)
    assert (abs(shown - truth) <= 1).mean() > 0.98 and not shows(folder, other)
    assert all(shows(folder, row) for row in rows if row is not other)
    assert [row['why'] for row in folder.log('chips') if row['outcome'] == 'keep'] == [
        '2 results; MAX is 200 now and was 255; MIN is 100 now and was 0']


def test_more_random_places_are_other_places(folder):
    """So they need another folder, with --keep as without."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=8).run('chips.py')
    before = folder.files('chips')
    folder.edit('chips.py', POINTS_PER_ECOREGION=3)
    assert 'POINTS_PER_ECOREGION is 3 now and was 2. ' in last(folder.run('chips.py', status=1))
    told = last(folder.run('chips.py', '--keep', status=1))
    assert re.match(r'Of 8 results in chips \d ha(ve|s) another ', told) and 'set OUTPUT to a new folder' in told
    assert folder.files('chips') == before


def test_keep_asks_again_for_what_had_nothing(folder, standin):
    """Where the item is another now, or the script; without it that is asked for never again."""
    write_points(folder, MIDDLE, ABROAD, (11, 46)).edit('chips.py', SIZE=8).run('chips.py')
    standin.reset()
    for command in [], ['--first', '5']:
        printed = folder.run('chips.py', *command)
        assert '1 of 3' in printed and '2 nothing' in printed
    assert not standin.counts()['requests']
    write_points(folder, MIDDLE, WEST, (11, 46))
    printed = folder.run('chips.py', '--keep')
    assert '2 of 3 are in chips' in printed and '1 nothing' in printed
    rows = folder.table('chips/chips.csv')
    assert shows(folder, rows[0]) and shows(folder, rows[1])
    assert [row['outcome'] for row in folder.log('chips') if row['file'] == '2.png'] == [
        'begun', 'nothing'] * 2  # as it may have changed, it was asked for once more
    folder.edit('chips.py', COLLECTION='COPERNICUS/S2_SR_HARMONIZED', START='2023-07-01', END='2023-07-31',
                BANDS=['B4', 'B3', 'B2'], MAX=3000)
    assert '3 of 3 are in chips' in folder.run('chips.py', '--keep')


def test_a_folder_with_no_result_yet_binds_nobody(folder):
    """Neither does what is told of such results in the log."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=8, BANDS=['R', 'G', 'X']).run('chips.py', status=1)
    folder.edit('chips.py', BANDS=['R', 'G', 'B']).run('chips.py')
    assert len(folder.files('chips')) == 9
    outcomes = [row['outcome'] for row in folder.log('chips')]
    assert outcomes.count('nothing') == 8 == outcomes.count('done')  # the log keeps what was


# projects

def test_the_project_may_change_at_any_time(folder, standin):
    """Between real ones, and a real one is any but that of the stand-in."""
    standin.set(project='one-project')
    small(folder, PROJECT='one-project').run('chips.py', '--first', '1')
    standin.reset()
    standin.set(project='another')
    folder.edit('chips.py', PROJECT=None).run('chips.py', '--first', '1')
    folder.edit('chips.py', PROJECT='another').run('chips.py')
    assert [*standin.counts()['projects']] == ['another']
    assert len(folder.files('chips')) == 4 and not any('keep' in row.values() for row in folder.log('chips'))


@pytest.mark.parametrize('command', [[], ['--keep']], ids=['without keep', 'keep'])
def test_made_up_results_are_no_real_ones(folder, standin, command):
    """Neither begun here and gone on there nor the reverse, also where a file is missing."""
    small(folder).run('chips.py', '--first', '2')
    before = folder.files('chips')
    standin.set(project='my-own')
    standin.reset()
    line = last(folder.run('chips.py', *command, status=1))
    assert line.startswith('The results in chips are made up, of the stand-in: ') and '--keep' not in line
    line = last(folder.edit('chips.py', PROJECT='my-own').run('chips.py', *command, status=1))
    assert line.startswith('The results in chips are made up, of the stand-in: ')
    standin.set(no_credentials=True)  # as without the stand-in where nobody has signed in
    line = last(folder.edit('chips.py', PROJECT=None).run('chips.py', *command, status=1))
    assert line.startswith('The results in chips are made up, of the stand-in: ')
    assert not standin.counts()['requests']
    standin.set(no_credentials=False)
    folder.edit('chips.py', PROJECT='my-own')
    assert folder.files('chips') == before

    folder.edit('chips.py', OUTPUT='real').run('chips.py', '--first', '2')
    before = folder.files('real')
    standin.set(project='standin-project')
    for project in None, 'standin-project':
        line = last(folder.edit('chips.py', PROJECT=project).run('chips.py', *command, status=1))
        assert line.startswith('The results in real are real, not of the stand-in: ')
    assert folder.files('real') == before


# folders

def test_a_folder_of_other_origin_is_left_alone(folder, standin):
    (folder.path / 'chips').mkdir()
    folder.edit('chips.py', **FEW)
    for name in 'chip_00001.png', 'chips.csv', 'log.csv', 'film.part':
        (folder.path / 'chips' / name).write_bytes(b'of another year')
        for command in [], ['--keep']:
            assert 'did not make' in last(folder.run('chips.py', *command, status=1))
        assert [path.read_bytes() for path in (folder.path / 'chips').iterdir() if path.name[0] != '.'] == [
            b'of another year']
        (folder.path / 'chips' / name).unlink()
    assert not standin.counts()['results']
    (folder.path / 'chips' / '.DS_Store').touch()
    folder.run('chips.py')
    (folder.path / 'chips' / 'notes.txt').write_text('mine')
    (folder.path / 'chips' / 'chip_00001.png').unlink()
    folder.run('chips.py')
    assert folder.files('chips')['notes.txt'] == b'mine'


def test_the_folder_of_another_script(folder, standin):
    """It is named, and not each of its constants; --keep refuses it by its files."""
    small(folder).run('chips.py')
    before = folder.files('chips')
    standin.reset()
    folder.edit('timeseries.py', OUTPUT='chips', COUNTRIES=['Suriname'])
    line, = said(folder.run('timeseries.py', status=1))
    assert line == 'chips was begun by chips.py: set OUTPUT to a new folder.'
    assert not standin.counts()['requests']
    line = last(folder.run('timeseries.py', '--keep', status=1))
    assert line.startswith('Of 3 results in chips 3 are not in the new list (0.json, 1.json, 2.json)')
    assert folder.files('chips') == before


def test_a_script_that_was_renamed_goes_on(folder):
    """Where nothing else has changed; the log and the list are its own."""
    small(folder).run('chips.py', '--first', '1')
    (folder.path / 'chips.py').rename(folder.path / 'lake chips.py')
    assert '3 of 3 are in chips' in folder.run('lake chips.py')


def test_a_lost_list_is_told_and_keep_makes_it_anew(folder, standin):
    """Gone, empty, broken, or another's; nothing that is there is asked for again."""
    small(folder).run('chips.py')
    before = folder.files('chips')
    place = folder.path / 'chips' / '.list.json'
    standin.reset()
    for content in (None, b'', b'{"items": {"0.js', bytes(5000), b'\xff\xfe[]', b'[1]', b'"text"',
                    b'{"name": "another program"}'):
        place.unlink()
        if content is not None:
            place.write_bytes(content)
        line = last(folder.run('chips.py', status=1))
        assert '.list.json' in line and 'lost' in line and '--keep' in line, content
        assert '3 of 3 were already in chips' in folder.run('chips.py', '--keep'), content
        row = [row for row in folder.log('chips') if row['outcome'] == 'keep'][-1]
        assert row['why'].startswith('3 ') and 'lost' in row['why'], content
    assert [row['outcome'] for row in folder.log('chips')].count('keep') == 8
    assert folder.files('chips') == before and 'compute' not in standin.counts()['requests']
    (folder.path / 'chips' / '1.json').unlink()
    assert '3 of 3 are in chips' in folder.run('chips.py') and folder.files('chips') == before


def test_a_folder_that_holds_a_log_alone_is_begun_with(folder):
    """As a run leaves it that was killed before anything came."""
    small(folder).run('chips.py')
    for name in '.list.json', 'chips.csv', '0.json', '1.json', '2.json':
        (folder.path / 'chips' / name).unlink()
    assert '3 of 3 are in chips' in folder.run('chips.py')


def test_a_lost_log_is_begun_anew(folder, standin):
    """It is all that tells what had nothing."""
    write_points(folder, MIDDLE, ABROAD).edit('chips.py', SIZE=8).run('chips.py')
    (folder.path / 'chips' / 'log.csv').unlink()
    standin.reset()
    assert '1 nothing' in folder.run('chips.py') and standin.counts()['requests']['create']
    assert [row['outcome'] for row in folder.log('chips')] == ['begun', 'nothing']


@pytest.mark.parametrize('half', [
    pytest.param('"2.png,ñ', id='half a letter'), pytest.param('0.png,done', id='half a row'),
    pytest.param('2.png,failed,"no im', id='a quote'), pytest.param('2.png,failed,"no im\n', id='many rows')])
def test_half_a_row_in_the_log_does_no_harm(folder, half):
    """As a power cut may leave it; it spoils no row of what came later, however much."""
    write_points(folder, MIDDLE, ABROAD, WEST).edit('chips.py', SIZE=8).run('chips.py')
    with open(folder.path / 'chips' / 'log.csv', 'ab') as log:
        log.write(f'2026-01-01T00:00:00Z,{half}'.encode()[:-1 if half[-1] == 'ñ' else None])
        log.write(b'2026-01-01T00:00:00Z,0.png,begun,1\n' * (5000 if half[-1] == '\n' else 0))
    (folder.path / 'chips' / '2.png').unlink()
    assert '2 of 3' in folder.run('chips.py') and '1 nothing' in folder.run('chips.py')


def test_half_a_row_in_the_log_hides_no_new_list(folder):
    """What follows it in the same run counts, too: that there is another list, and what was kept."""
    write_points(folder, MIDDLE, WEST).edit('chips.py', SIZE=8, BANDS=['R', 'G', 'X'])
    folder.run('chips.py', status=1)
    with open(folder.path / 'chips' / 'log.csv', 'a') as log:
        log.write('2026-01-01T00:00:00.000Z,0.png,beg')
    assert '2 of 2 are in chips' in folder.edit('chips.py', BANDS=['R', 'G', 'B']).run('chips.py')
    with open(folder.path / 'chips' / 'log.csv', 'a') as log:
        log.write('2026-01-01T00:00:00.000Z,0.p')
    folder.run('chips.py', '--keep')
    assert [row['outcome'] for row in folder.log('chips')][-2:] == ['keep', 'list']


# time series

def test_a_later_END_is_another_folder(folder, standin):
    """Each series would be another, so --keep is not offered; nor does it take them."""
    folder.edit('timeseries.py', COUNTRIES=['Suriname'], START='2003-01-01', END='2003-03-01')
    folder.run('timeseries.py')
    before = folder.files('timeseries')
    number = len(before) - 1
    standin.reset()
    line, = said(folder.edit('timeseries.py', END='2004-03-01').run('timeseries.py', status=1))
    assert "END is '2004-03-01' now and was '2003-03-01'" in line
    assert f'The {number} results in timeseries ' in line and 'OUTPUT' in line and '--keep' not in line
    end = folder.table('timeseries/regions.csv')[0]['end']
    assert end in line and not standin.counts()['requests']
    line = last(folder.run('timeseries.py', '--keep', status=1))
    assert line.startswith(f'Of {number} results in timeseries {number} have another end, images ')
    assert folder.files('timeseries') == before
    folder.edit('timeseries.py', OUTPUT='longer').run('timeseries.py', '--first', '1')


def test_other_changes_of_time_series_offer_keep(folder):
    folder.edit('timeseries.py', COUNTRIES=['Suriname'], START='2003-01-01', END='2003-03-01')
    folder.run('timeseries.py', '--first', '1')
    line, = said(folder.edit('timeseries.py', DECIMALS=3).run('timeseries.py', status=1))
    assert line.startswith('DECIMALS is 3 now and was 2. ') and '--keep' in line
