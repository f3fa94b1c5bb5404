"""What a worker does: it evaluates the expression of a request and makes the bytes of an answer."""
import csv
import io
import json
import traceback
import zipfile

import numpy as np
import PIL.Image
import rasterio

import images
from algorithms import to_string
from evaluate import evaluate, to_json
from reducers import column
from values import BEHAVIOUR, BYTE, EEError, find_crs, grid_of_pixels, refuse_long
from wire import Answer, error, reply

MAX_SIDE = 32768


def answer(job, body, behaviour):
    """The Answer of a job, one of JOBS, or of the error in it."""
    BEHAVIOUR.update(behaviour)
    body = json.loads(body)
    try:
        return JOBS[job](body['expression'], body.get('fileFormat'), body)
    except EEError as problem:
        return error(problem.status, str(problem))
    except Exception as problem:  # a fault of the stand-in: to be seen, and not to be retried
        traceback.print_exc()
        return error(400, f'The stand-in failed: {type(problem).__name__}: {problem}')


def value(expression, file_format, body):
    """What getInfo() asks for."""
    return reply({'result': to_json(evaluate(expression))})


# ---------------------------------------------------------------- pictures

def size(expression, file_format, body):
    """What the service checks of an image before it hands out an id; other errors come later."""
    try:
        image = evaluate(expression)
    except EEError:
        return Answer()
    check_size(image)
    return Answer()


def check_size(image):
    """Refuses a picture of too many pixels: a value and a byte of mask for each band."""
    *_, width, height = images.grid_of(image)
    if max(width, height) > MAX_SIDE:
        raise EEError(f'Pixel grid dimensions ({width}x{height}) must be less than or equal to '
                      f'{MAX_SIDE}.')
    total, limit = (width * height * sum(band.type.dtype().itemsize + 1 for band in image.bands),
                    BEHAVIOUR['download_limit'])
    if total > limit:
        raise EEError(f'Total request size ({total} bytes) must be less than or equal to {limit} '
                      'bytes.')


def picture(expression, file_format, body):
    """An image in one of the formats of the service."""
    image = evaluate(expression)
    if body.get('bandIds'):
        image = images.select(image, body['bandIds'])
    if not image.bands:
        raise EEError('Image has no bands.')
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
        raise EEError(f'The stand-in knows no file format {name}.')
    if len(layers) not in (1, 3) or any(band.type != BYTE for band in image.bands):
        types = ', '.join(f'{band.name} {band.type.dtype()}' for band in image.bands)
        raise EEError(f'{name}: Expected 1 or 3 bands of type uint8, as visualize() makes them, '
                      f'got {len(layers)}: {types}.')
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


def encode_npy(layers):
    """A structured array with a field for each band, 0 where it is masked."""
    file, first = io.BytesIO(), next(iter(layers.values()))[0]
    array = np.zeros(first.shape, [(name, values.dtype) for name, (values, _) in layers.items()])
    for name, (values, _) in layers.items():
        array[name] = values
    np.save(file, array)
    return Answer(file.getvalue(), content_type='application/octet-stream')


def encode_tiff(layers, grid):
    """A GeoTIFF of one type for all bands; masked is 0, or NaN in floating point."""
    projection, col, row, width, height = grid
    kind = np.result_type(*(values.dtype for values, _ in layers.values()))
    blank = np.nan if kind.kind == 'f' else 0
    transform = rasterio.Affine(*projection.transform) * rasterio.Affine.translation(col, row)
    with rasterio.MemoryFile() as memory:
        with memory.open(driver='GTiff', width=width, height=height, count=len(layers), dtype=kind,
                         crs=find_crs(projection.crs).to_wkt(), transform=transform,
                         compress='deflate', zlevel=1) as file:
            for number, (name, (values, mask)) in enumerate(layers.items(), 1):
                file.write(np.where(mask, values, blank).astype(kind), number)
                file.set_band_description(number, name)
        return Answer(memory.read(), content_type='image/tiff')


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
        raise EEError(f'The stand-in knows no file format {file_format}.')
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


JOBS = {'value': value, 'size': size, 'image': picture, 'table': table}
