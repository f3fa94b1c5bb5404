"""What a worker does: it evaluates the expression of a request and makes the bytes of an answer."""
import csv
import functools
import io
import json
import traceback
import zipfile

import numpy as np
import PIL.Image
import rasterio
import tifffile

import images
from algorithms import to_string
from evaluate import evaluate, known, to_json
from reducers import column
from sentences import say
from values import BEHAVIOUR, BYTE, EEError, find_crs, grid_of_pixels, refuse_long
from wire import Answer, error, reply

MAX_SIDE = 32768


def answer(job, body, behaviour):
    """The Answer of a job, one of JOBS, or of the error in it."""
    BEHAVIOUR.update(behaviour)
    body = json.loads(body)
    try:
        return JOBS[job](body.get('expression'), body.get('fileFormat'), body)
    except EEError as problem:
        return error(problem.status, str(problem))
    except Exception as problem:  # a fault of the stand-in: to be seen, and not to be retried
        traceback.print_exc()
        return error(400, say('failed', error=f'{type(problem).__name__}: {problem}'))


def value(expression, file_format, body):
    """What getInfo() asks for."""
    return reply({'result': to_json(evaluate(expression))})


def functions(*_):
    """The functions that can be evaluated."""
    return reply({'algorithms': known()})


# ---------------------------------------------------------------- pictures

def size(expression, file_format, body):
    """What the service checks of an image before it hands out an id; other errors come later."""
    try:
        image = evaluate(expression)
    except EEError:
        return Answer()
    if image.bands:
        check_size(image)
    return Answer()


def check_size(image):
    """Refuses a picture of too many pixels: a value and a byte of mask for each band."""
    *_, width, height = images.grid_of(image)
    if max(width, height) > MAX_SIDE:
        raise EEError(say('grid_size', width=width, height=height, limit=MAX_SIDE))
    total, limit = (width * height * sum(band.type.dtype().itemsize + 1 for band in image.bands),
                    BEHAVIOUR['download_limit'])
    if total > limit:
        raise EEError(say('request_size', total=total, limit=limit))


def picture(expression, file_format, body):
    """An image in one of the formats of the service."""
    image = evaluate(expression)
    if body.get('bandIds'):
        image = images.select(image, body['bandIds'])
    if not image.bands:
        raise EEError(say('picture_no_bands') + images.link())
    check_size(image)
    grid, name = images.grid_of(image), file_format or 'AUTO_JPEG_PNG'
    pixels = grid_of_pixels(*grid)
    layers = {}  # name of a band: values in its own type, 0 where they are masked; mask
    for band in image.bands:
        values, mask = column(band, pixels)
        layers[band.name] = np.where(mask, values, 0).astype(band.type.dtype()), mask
    if name == 'NPY':
        return encode_npy(layers)
    if name == 'GEO_TIFF':
        return encode_tiff(layers, grid)
    if name == 'ZIPPED_GEO_TIFF':
        return encode_zip(encode_tiff(layers, grid).body)
    if name not in ('PNG', 'JPEG', 'AUTO_JPEG_PNG'):
        raise EEError(say('lacks', what=f'file format {name}'))
    if len(layers) not in (1, 3) or any(band.type != BYTE for band in image.bands):
        types = ', '.join(f'{band.name} {band.type.dtype()}' for band in image.bands)
        raise EEError(say('picture_bands', format=name, count=len(layers), types=types))
    return encode_picture(list(layers.values()), name)


def encode_picture(layers, name):
    """PNG or JPEG; a pixel that is masked in one band is transparent in PNG, black in JPEG."""
    valid = np.all([mask for _, mask in layers], axis=0)
    if name == 'AUTO_JPEG_PNG':
        name = 'JPEG' if valid.all() else 'PNG'
    channels = [values * valid for values, _ in layers]
    if name == 'PNG' and BEHAVIOUR['png_alpha'] in (
            ['always'] if valid.all() else ['always', 'auto']):
        channels.append(valid * np.uint8(255))
    array = channels[0] if len(channels) == 1 else np.stack(channels, axis=-1)
    file = io.BytesIO()
    options = {'compress_level': 1} if name == 'PNG' else {'quality': 90}
    PIL.Image.fromarray(array).save(file, name, **options)
    return Answer(file.getvalue(), content_type=f'image/{name.lower()}')


def lowest(kind):
    """What the service has in a GeoTIFF of a type where it is masked, and says so in a tag."""
    return -np.inf if kind.kind == 'f' else np.iinfo(kind).min


def encode_npy(layers):
    """A structured array with a field for each band."""
    file, first = io.BytesIO(), next(iter(layers.values()))[0]
    array = np.zeros(first.shape, [(name, values.dtype) for name, (values, _) in layers.items()])
    for name, (values, mask) in layers.items():
        minimum = BEHAVIOUR['npy_masked'] == 'minimum'
        array[name] = np.where(mask, values, lowest(values.dtype)) if minimum else values
    np.save(file, array)
    return Answer(file.getvalue(), content_type='application/octet-stream')


TRANSFORMATION, NO_DATA, GEO_KEYS = 34264, 42113, (34735, 34736, 34737)  # tags of a GeoTIFF


def encode_tiff(layers, grid):
    """A GeoTIFF of one type for all bands, as the service writes them: the file kept in
    phiscu/matilda_edu a13a119, and tests/integration.py of leftfield-geospatial/geedim."""
    projection, col, row, width, height = grid
    kind = np.result_type(*(values.dtype for values, _ in layers.values()))
    array = np.stack([np.where(mask, values, lowest(kind)).astype(kind)
                      for values, mask in layers.values()], axis=-1)
    a, b, c, d, e, f, *_ = (rasterio.Affine(*projection.transform)
                            * rasterio.Affine.translation(col, row))
    blank = '-inf' if kind.kind == 'f' else f'{lowest(kind)}.0'
    tags = [(TRANSFORMATION, 'd', 16, [a, b, 0, c, d, e, 0, f, 0, 0, 0, 0, 0, 0, 0, 1]),
            (NO_DATA, 's', 0, blank), *geo_keys(find_crs(projection.crs).to_wkt())]
    many = {'planarconfig': 'contig'} if len(layers) > 1 else {}
    file = io.BytesIO()
    tifffile.imwrite(file, array if many else array[..., 0], byteorder='>', tile=(256, 256),
                     compression=32946, compressionargs={'level': 1}, photometric='minisblack',
                     metadata=None, software=False, extratags=[(*tag, True) for tag in tags],
                     **many)
    return Answer(file.getvalue(), content_type='image/tiff')


@functools.cache
def geo_keys(crs):
    """The tags of a coordinate system, as GDAL writes them: (code, type, count, value)."""
    with rasterio.MemoryFile() as memory:
        with memory.open(driver='GTiff', width=1, height=1, count=1, dtype='uint8', crs=crs,
                         transform=rasterio.Affine(2, 0, 0, 0, -2, 0)):
            pass
        with tifffile.TiffFile(io.BytesIO(memory.read())) as file:
            found = [tag for tag in file.pages[0].tags.values() if tag.code in GEO_KEYS]
            return [(tag.code, tag.dtype, 0 if isinstance(tag.value, str) else tag.count, tag.value)
                    for tag in found]


def encode_zip(tiff):
    """A zip with a GeoTIFF, the same bytes each time."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr(zipfile.ZipInfo('download.tif'), tiff)
    return Answer(file.getvalue(), content_type='application/zip')


# ---------------------------------------------------------------- tables

def table(expression, file_format, body):
    """A collection in one of the formats of the service."""
    collection, selectors = evaluate(expression), body.get('selectors')
    elements = collection.elements()
    if file_format not in (None, 'CSV'):
        raise EEError(say('lacks', what=f'file format {file_format}'))
    refuse_long(len(elements), BEHAVIOUR['table_limit'])
    return Answer(encode_csv(elements, selectors).encode(), content_type='text/csv')


def encode_csv(elements, selectors):
    """Columns as selected, or system:index, all properties of the first element, and .geo."""
    if not selectors:
        first = sorted(elements[0].properties) if elements else []
        selectors = ['system:index', *first, '.geo']
    if not elements and BEHAVIOUR['csv_empty'] == 'nothing':
        return ''
    file, newline = io.StringIO(BEHAVIOUR['csv_bom']), BEHAVIOUR['csv_newline']
    file.seek(0, io.SEEK_END)
    quoting = csv.QUOTE_ALL if BEHAVIOUR['csv_quotes'] else csv.QUOTE_MINIMAL
    csv.writer(file, quoting=quoting, lineterminator=newline).writerow(selectors)
    writer = csv.writer(file, lineterminator=newline)
    writer.writerows([cell(element, name) for name in selectors] for element in elements)
    text = file.getvalue()
    return text if BEHAVIOUR['csv_final_newline'] else text.removesuffix(newline)


def cell(element, name):
    """The text of a property; a feature without geometry has one of no points."""
    value = element.get(name)
    if name == '.geo':
        return json.dumps(to_json(value) if value else {'type': 'MultiPoint', 'coordinates': []},
                          separators=(',', ':'))
    if value is None:
        return BEHAVIOUR['csv_null']
    return float_text(value) if isinstance(value, float) else to_string(value)


def float_text(value):
    """A number of 10 decimals at most, or one as Java writes it."""
    if BEHAVIOUR['csv_float'] == 'short':
        return repr(round(value, 10)).removesuffix('.0')
    if value and not 1e-3 <= abs(value) < 1e7:
        digits, _, power = np.format_float_scientific(value, trim='0').partition('e')
        return f'{digits}E{int(power)}'
    return repr(value)


JOBS = {'value': value, 'functions': functions, 'size': size, 'image': picture, 'table': table}
