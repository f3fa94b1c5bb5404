"""The commands of the README that run a script on the stand-in, as typed; and what a script may call."""
import json

from conftest import HERE, hasten


def test_a_script_on_the_stand_in(folder):
    folder.edit('chips.py', POINTS_PER_ECOREGION=4, SIZE=16)
    printed = folder.run(str(HERE / 'standin'), 'chips.py')
    assert '16 of 16' in printed and '16 results for 16 items' in printed
    assert '0 failed handshakes' in printed and 'faults: none' in printed
    assert len(folder.files('chips')) == 17


def test_a_script_on_a_bad_day(folder):
    hasten(folder).edit('timeseries.py', COUNTRIES=['Suriname'], START='2020-01-01', END='2020-03-01', DEADLINE=2)
    printed = folder.run(str(HERE / 'standin'), '--faults', '0.2', '--stall', '3', '--report', 'counts.json',
                         'timeseries.py')
    assert len(folder.files('timeseries')) == 7 and '6 of 6' in printed
    assert json.loads((folder.path / 'counts.json').read_text())['faults']


def test_the_exit_status_is_that_of_the_script(folder):
    folder.edit('chips.py', FORMAT='gif').run(str(HERE / 'standin'), 'chips.py', status=1)
    assert '--fault-kinds' in folder.run(str(HERE / 'standin'), '--help')


# what a user's own getResult() may well call, and what it must give: images, at a place
IMAGES = {
    "ee.Image([8, 2]).rename(['N', 'R']).normalizedDifference(['N', 'R'])": 0.6,
    "ee.Image([8, 2]).expression('(a - b(1)) / (a + b(1)) + (a > 9)', {'a': ee.Image(8)})": 0.6,
    "ee.Image(7).divide(2).add(1).subtract(0.5).multiply(2).sqrt().pow(4)": 64,
    "ee.Image(300).toByte()": 255, "ee.Image(5).clamp(0, 3)": 3, "ee.Image(-2.5).abs().floor()": 2,
    "ee.Image(5).updateMask(ee.Image(1).lt(0)).unmask(9)": 9, "ee.Image(0).selfMask()": None,
    "ee.Image(5).where(ee.Image(1).eq(1).And(ee.Image(0).Not()), 6)": 6,
    "ee.Image(20).remap([10, 20], [1, 2])": 2, "ee.Image(30).remap([10, 20], [1, 2])": None,
    "ee.Image(5).addBands(ee.Image(6)).select(1)": 6, "ee.Image.cat([5, 6]).reduce('sum')": 11,
    "ee.Image(5).clip(ee.Geometry.BBox(0, 0, 1, 1))": None, "ee.Image(5).rightShift(1).mask()": 1,
    "ee.Image(1).visualize(min=0, max=2, palette=['black', 'ff8000']).select(1)": 64,
    **{f"ee.ImageCollection([1, 2, 2, 7]).{call}": value for call, value in {
        'min()': 1, 'max()': 7, 'mean()': 3, 'median()': 2, 'sum()': 12, 'count()': 4, 'mode()': 2,
        "reduce('stdDev')": 2.345208, "reduce(ee.Reducer.percentile([50]))": 2,
        'mosaic()': 7, 'toBands().select(0)': 1}.items()},
}
VALUES = {
    "ee.Date('2020-01-31').advance(1, 'month').format('DDD, d MMM YYYY')": '060, 29 Feb 2020',
    "ee.Date.fromYMD(2020, 3, 1).difference('2020-02-28', 'day')": 2,
    "ee.Number(7).mod(4).add(1).max(2).lt(5)": 1, "ee.Number(7.5).round().format('%03d')": '008',
    "ee.List([3, 1, 2]).sort().reverse().slice(0, 2).cat([1]).distinct()": [3, 2, 1],
    "ee.List.sequence(1, 3).map(lambda i: ee.Number(i).multiply(2)).reduce('sum')": 12,
    "ee.Dictionary({'a': 1}).set('b', 2).combine({'c': 3}).values()": [1, 2, 3],
    "ee.String('a_b').cat('_c').split('_').get(-1)": 'c',
    "ee.Algorithms.If(ee.List([1]).contains(2), 'yes', 'no')": 'no',
    "ee.Geometry.Point(9, 45).buffer(1000).area(1).divide(1e6).multiply(10).round()": 31,
    "ee.Geometry.BBox(0, 0, 2, 2).intersection(ee.Geometry.BBox(1, 1, 3, 3), 1).bounds()"
    ".coordinates()": [[[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]],
    "ee.Image(1).clipToBoundsAndScale(ee.Geometry.BBox(0, 0, 2, 1), maxDimension=40)"
    ".reduceRegion('count', ee.Geometry.BBox(-1, -1, 3, 3)).get('constant')": 800,
    "ee.ImageCollection('MODIS/061/MOD11A2').filter(ee.Filter.calendarRange(6, 8, 'month'))"
    ".filter(ee.Filter.calendarRange(2020, 2020, 'year')).first().date().format('MM-dd')": '06-01',
    **{"ee.FeatureCollection([ee.Feature(None, {'n': i}) for i in (4, 6, 6)])." + call: value
       for call, value in {
        "aggregate_mean('n')": 5.333333, "aggregate_histogram('n')": {'4': 1, '6': 2},
        "filter(ee.Filter.Or(ee.Filter.gt('n', 9), ee.Filter.neq('n', 6))).size()": 1,
        "map(lambda f: f.set('m', f.getNumber('n').add(1))).aggregate_array('m')": [5, 7, 7],
        "map(lambda f: ee.FeatureCollection([f, f])).flatten().size()": 6,
        "sort('n', False).first().toDictionary()": {'n': 6},
        "reduceColumns(ee.Reducer.minMax(), ['n'])": {'min': 4, 'max': 6}}.items()},
}
ASK = '''
import json, ee
ee.Initialize(url=ee.data.HIGH_VOLUME_API_BASE_URL)
images, values = json.load(open('ask.json'))
point = ee.Geometry.Point(9, 45)
ask = [ee.Image(eval(text)).select([0], ['it']).reduceRegion('first', point, 10)
       for text in images]
print(json.dumps(ee.List(ask + [eval(text) for text in values]).getInfo()))
'''


def test_what_a_script_may_call(folder):
    (folder.path / 'ask.json').write_text(json.dumps([list(IMAGES), list(VALUES)]))
    (folder.path / 'ask.py').write_text(ASK)
    *_, printed = folder.run('ask.py').splitlines()
    expected = [{'it': value} for value in IMAGES.values()] + list(VALUES.values())
    found = json.loads(printed, parse_float=lambda text: round(float(text), 6))
    assert dict(zip([*IMAGES, *VALUES], found)) == dict(zip([*IMAGES, *VALUES], expected))
