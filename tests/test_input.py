"""Bad input: one sentence, exit status 1, and no download begun."""
import pytest

from conftest import HERE

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
    ('chips.py', dict(SIZE=4000), 'MB'), ('chips.py', dict(SIZE=6000, FORMAT='tif'), 'MB'),
    ('chips.py', dict(BANDS=['R', 'G', 'B', 'N']), 'BANDS'), ('chips.py', dict(BANDS=[]), 'BANDS'),
    ('chips.py', dict(START='2025-01-01', END='2019-01-01'), 'START'),
    ('chips.py', dict(START='2019-1-1'), '2019-1-1'), ('chips.py', dict(BANDS='RGB'), 'BANDS'),
    ('chips.py', dict(BANDS=[0, 1, 2]), 'BANDS'), ('timeseries.py', dict(BAND=['LST_Day_1km']), 'BAND'),
    ('timeseries.py', dict(DECIMALS='2'), 'DECIMALS'), ('timeseries.py', dict(DECIMALS=-1), 'DECIMALS'),
    ('timeseries.py', dict(START='2050-01-01', END='2051-01-01'), 'no image between START and END'),
    ('chips.py', dict(REGION='Colorado'), 'REGION'), ('timeseries.py', dict(COUNTRIES='Chile'), 'COUNTRIES'),
    ('chips.py', dict(REGION={'ADM1_NAME': 'Atlantis'}), 'Atlantis'),
    ('chips.py', dict(REGION={'ADM7_NAME': 'Colorado'}), 'ADM7_NAME'),
    ('chips.py', dict(REGION_TABLE='FAO/GAUL/2015/level9'), 'FAO/GAUL/2015/level9'),
    ('chips.py', dict(COLLECTION='USDA/NAIP/DOQ'), 'USDA/NAIP/DOQ'),
    ('chips.py', dict(BANDS=['R', 'G', 'X']), "Band pattern 'X' did not match any bands"),
    ('timeseries.py', dict(START='2025-01-01', END='2019-01-01'), 'START'),
    ('timeseries.py', dict(START='2025-13-01'), '2025-13-01'),
    ('timeseries.py', dict(COUNTRIES=['Brazil', 'Brasil']), "'Brasil'"),
    ('timeseries.py', dict(COUNTRIES=[]), 'nothing to do'),
    ('timeseries.py', dict(REGIONS='FAO/GAUL/2015/level9'), 'FAO/GAUL/2015/level9'),
    ('timeseries.py', dict(COLLECTION='MODIS/061/MOD11A9'), 'MODIS/061/MOD11A9'),
    ('timeseries.py', dict(BAND='LST'), 'did not match any bands'),
    ('timeseries.py', dict(REDUCER='maximum'), 'REDUCER'),
    ('timeseries.py', dict(QUALITY=7), 'QUALITY'),
    ('timeseries.py', dict(PROCESSES=0), 'PROCESSES'),
]


@pytest.mark.parametrize('script,constants,words', WRONG)
def test_wrong_constants(folder, standin, script, constants, words):
    printed = folder.edit(script, **constants).run(script, status=1, seconds=60)
    said = [line for line in printed.splitlines() if '%|' not in line]  # the progress
    assert len(said) == 1 and words in said[0], printed
    assert not standin.counts()['results']
    assert not [path for path in folder.path.rglob('*.p*') if path.suffix in ('.png', '.part')]


@pytest.mark.parametrize('script', ['chips.py', 'timeseries.py'])
def test_no_such_collection_whatever_the_status(folder, standin, script):
    standin.set(behaviour={'not_found_status': 400})
    test_wrong_constants(folder, standin, script, dict(COLLECTION='MODIS/061/MOD11A9'), 'MODIS/061/MOD11A9')


@pytest.mark.parametrize('script', ['chips.py', 'timeseries.py'])
def test_output_that_cannot_be_a_folder(folder, script):
    (folder.path / 'taken').write_text('a file')
    printed = folder.edit(script, OUTPUT='taken').run(script, status=1)
    assert 'taken' in printed and len(printed.splitlines()) == 1
    printed = folder.edit(script, OUTPUT='/proc/nothing').run(script, status=1)
    assert '/proc/nothing' in printed and len(printed.splitlines()) == 1
    assert (folder.path / 'taken').read_text() == 'a file'


def test_a_changed_constant_is_refused_by_name(folder, standin):
    folder.edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=8).run('chips.py')
    before = folder.files('chips')
    standin.reset()
    printed = folder.edit('chips.py', SCALE=2, SEED=3).run('chips.py', status=1)
    assert 'SCALE' in printed and 'SEED' in printed and 'SIZE' not in printed
    assert len(printed.splitlines()) == 1 and not standin.counts()['requests']
    assert folder.files('chips') == before
    folder.edit('chips.py', SCALE=1, SEED=0, PROCESSES=3, PROJECT='standin-project').run('chips.py')
    assert folder.files('chips') == before


def test_results_of_unknown_origin_are_not_taken_for_ours(folder):
    (folder.path / 'chips').mkdir()
    (folder.path / 'chips' / 'chip_00001.png').write_bytes(b'of another year')
    printed = folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8).run('chips.py', status=1)
    assert 'another origin' in printed and len(printed.splitlines()) == 1
    assert folder.files('chips') == {'chip_00001.png': b'of another year'}


def test_a_list_that_someone_else_made_is_not_overwritten(folder):
    (folder.path / 'chips').mkdir()
    (folder.path / 'chips' / 'chips.csv').write_text('of another programme')
    assert 'another origin' in folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8).run('chips.py', status=1)
    assert folder.files('chips') == {'chips.csv': b'of another programme'}


def test_second_files_of_other_constants_are_not_mixed_with_new_ones(folder):
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8)
    folder.replace('chips.py', "    save_chip(point", "    save(f'{index}.txt', lambda: str(MAX).encode())\n    save_chip(point")
    folder.run('chips.py')
    for path in (folder.path / 'chips').glob('*.png'):
        path.unlink()
    assert 'MAX' in folder.edit('chips.py', MAX=100).run('chips.py', status=1)
    assert folder.files('chips')['1.txt'] == b'255'
    folder.edit('chips.py', MAX=255).run('chips.py')
    assert len(folder.files('chips')) == 9


def test_a_lost_list_is_written_again(folder):
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8).run('chips.py')
    before = folder.files('chips')
    (folder.path / 'chips' / 'chips.csv').unlink()
    folder.run('chips.py')
    assert folder.files('chips') == before


def test_a_function_in_capitals_is_no_constant(folder, standin):
    standin.set(start_method='spawn')
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8, PROCESSES=2)
    folder.replace('chips.py', 'def check_constants', 'def NDVI(image):\n    return image\n\n\ndef check_constants')
    for _ in range(2):
        folder.run('chips.py')
        (folder.path / 'chips' / 'chip_00002.png').unlink()


def test_items_are_the_same_in_each_run(folder):
    """JSON knows no tuples and no keys but text."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8, PROCESSES=2)
    folder.replace('chips.py', "'ECO_ID': int", "'pair': (1, 2), 'ECO_ID': int")
    folder.replace('chips.py', '    around = ', '    assert point["pair"] == [1, 2]\n    around = ')
    folder.run('chips.py')
    (folder.path / 'chips' / 'chip_00002.png').unlink()
    folder.run('chips.py')


def test_what_others_keep_in_the_folder_is_left_alone(folder):
    (folder.path / 'chips').mkdir()
    (folder.path / 'chips' / 'film.part').write_text('a download of a browser')
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8).run('chips.py')
    assert (folder.path / 'chips' / 'film.part').exists()


def test_a_constant_that_is_a_set_stays_the_same(folder):
    """Its order is another one in each process."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8)
    folder.replace('chips.py', 'SEED = 0', "STATES = {'Colorado', 'Utah', 'Kansas', 'Nevada'}\nSEED = 0")
    for _ in range(3):
        folder.run('chips.py')


def test_a_folder_with_no_result_yet_binds_nobody(folder):
    folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8, BANDS=['R', 'G', 'X']).run('chips.py', status=1)
    folder.edit('chips.py', BANDS=['R', 'G', 'B'], FORMAT='jpg').run('chips.py')
    assert len(folder.files('chips')) == 41
    assert all(row['file'].endswith('.jpg') for row in folder.table('chips/chips.csv'))


@pytest.mark.parametrize('name', ['../escape.png', '/tmp/escape.png', 'a/b.png', 'chips.csv', '', '..', '.lock',
                                  '.run.json'])
def test_names_do_not_escape_the_folder(folder, name):
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8)
    folder.replace('chips.py', "f'chip_{index:05}.{FORMAT}'",
                   f"{name!r} if index == 1 else f'chip_{{index:05}}.{{FORMAT}}'")
    printed = folder.run('chips.py', status=1)
    assert name in printed
    assert not list(folder.path.rglob('escape*')) and not list(folder.path.parent.glob('escape*'))


def test_names_with_every_kind_of_character(folder):
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8)
    folder.replace('chips.py', "f'chip_{index:05}.{FORMAT}', 'long",
                   "['Ñuñoa, \"A\".png', 'tab\\there.png', '...png', \"O'Higgins;.png\"][index], 'long")
    folder.run('chips.py')
    assert {row['file'] for row in folder.table('chips/chips.csv')} == {
        'Ñuñoa, "A".png', 'tab\there.png', '...png', "O'Higgins;.png"}
    assert len(list((folder.path / 'chips').glob('*png'))) == 4


def test_items_without_a_file_of_their_own(folder):
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8)
    folder.replace('chips.py', "f'chip_{index:05}.{FORMAT}'", "'Same.png' if index else 'same.png'")
    assert "'file'" in folder.run('chips.py', status=1)


def test_top_level_holds_what_it_should():
    listed = {path.name for path in HERE.parent.iterdir() if not path.name.startswith('.')}
    assert listed - {'chips', 'timeseries'} == {
        'README.md', 'chips.py', 'requirements.txt', 'tests', 'timeseries.py'}
