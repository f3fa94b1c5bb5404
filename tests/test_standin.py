"""The commands of the README that run a script on the stand-in, as they are typed."""
import json

from conftest import HERE


def test_a_script_on_the_stand_in(folder):
    folder.edit('chips.py', POINTS_PER_ECOREGION=4, SIZE=16)
    printed = folder.run(str(HERE / 'standin'), 'chips.py')
    assert '16 of 16' in printed and '16 results for 16 items' in printed
    assert '0 failed handshakes' in printed and 'faults: none' in printed
    assert len(folder.files('chips')) == 17


def test_a_script_on_a_bad_day(folder):
    folder.edit('timeseries.py', COUNTRIES=['Suriname'], START='2020-01-01', END='2020-03-01', DEADLINE=2)
    printed = folder.run(str(HERE / 'standin'), '--faults', '0.2', '--stall', '3', '--report', 'counts.json',
                         'timeseries.py')
    assert len(folder.files('timeseries')) == 7 and '6 of 6' in printed
    assert json.loads((folder.path / 'counts.json').read_text())['faults']


def test_the_exit_status_is_that_of_the_script(folder):
    folder.edit('chips.py', FORMAT='gif').run(str(HERE / 'standin'), 'chips.py', status=1)
    assert '--fault-kinds' in folder.run(str(HERE / 'standin'), '--help')
