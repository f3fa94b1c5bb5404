"""Turns an evaluated image or table into the bytes of a file."""
import csv
import io
import json

import numpy as np
import rasterio
from PIL import Image as Picture

import evaluate
import images
import reducers
from algorithms import to_string
from values import BEHAVIOUR, BYTE, EEError, find_crs, grid_of_pixels, refuse_long

MAX_BYTES = 33554432
MAX_SIDE = 32768


# pictures

def check_size(image):
    """Refuses a picture of too many pixels: a value and a byte of mask for each band."""
    *_, width, height = images.grid_of(image)
    if max(width, height) > MAX_SIDE:
        raise EEError(f'Pixel grid dimensions ({width}x{height}) must be less than or equal to '
                      f'{MAX_SIDE}.')
    size = width * height * sum(band.type.dtype().itemsize + 1 for band in image.bands)
    if size > MAX_BYTES:
        raise EEError(f'Total request size ({size} bytes) must be less than or equal to '
                      f'{MAX_BYTES} bytes.')


def image(picture, file_format, band_ids=None):
    """(bytes, content type) of an image in one of the formats of the service."""
    if band_ids:
        picture = images.select(picture, band_ids)
    if not picture.bands:
        raise EEError('Image has no bands.')
    check_size(picture)
    grid = images.grid_of(picture)
    pixels = grid_of_pixels(*grid)
    layers = [layer(band, pixels) for band in picture.bands]
    name = file_format or 'AUTO_JPEG_PNG'
    if name in ('PNG', 'JPEG', 'AUTO_JPEG_PNG'):
        return encode_picture(picture.bands, layers, name)
    names = [band.name for band in picture.bands]
    if name == 'NPY':
        return encode_npy(names, layers), 'application/octet-stream'
    if name == 'GEO_TIFF':
        return encode_tiff(names, layers, grid), 'image/tiff'
    raise EEError(f'The stand-in knows no file format {name}.')


def layer(band, pixels):
    """(rows, columns) of a band in its own type, and of its mask (None: all valid)."""
    values, mask = reducers.column(band, pixels)
    return (values.astype(band.type.dtype(), copy=False),
            None if mask is None or mask.all() else mask)


def encode_picture(bands, layers, name):
    """PNG or JPEG; a pixel that is masked in one band is transparent in PNG, black in JPEG."""
    if len(bands) not in (1, 3) or any(band.type != BYTE for band in bands):
        types = ', '.join(f'{band.name} {band.type.dtype()}' for band in bands)
        raise EEError(f'{name}: Expected 1 or 3 bands of type uint8, as visualize() makes them, '
                      f'got {len(bands)}: {types}.')
    valid = None
    for _, mask in layers:
        valid = images.both(valid, mask)
    if name == 'AUTO_JPEG_PNG':
        name = 'JPEG' if valid is None else 'PNG'
    channels = [values if valid is None else np.where(valid, values, 0) for values, _ in layers]
    alpha = BEHAVIOUR['png_alpha']
    if name == 'PNG' and alpha != 'never' and (alpha == 'always' or valid is not None):
        shown = np.broadcast_to(True if valid is None else valid, channels[0].shape)
        channels.append(shown.astype(np.uint8) * 255)
    array = channels[0] if len(channels) == 1 else np.stack(channels, axis=-1)
    file = io.BytesIO()
    options = {'compress_level': 1} if name == 'PNG' else {'quality': 90}
    Picture.fromarray(np.ascontiguousarray(array)).save(file, name, **options)
    return file.getvalue(), f'image/{name.lower()}'


def encode_npy(names, layers):
    """A structured array with a field for each band, 0 where it is masked."""
    array = np.zeros(layers[0][0].shape, [(name, part.dtype) for name, (part, _) in zip(
        names, layers)])
    for name, (values, mask) in zip(names, layers):
        array[name] = values if mask is None else np.where(mask, values, 0)
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def encode_tiff(names, layers, grid):
    """A GeoTIFF of one type for all bands; masked is 0, or NaN in floating point."""
    projection, col, row, width, height = grid
    kind = np.result_type(*(values.dtype for values, _ in layers))
    blank = np.nan if kind.kind == 'f' else 0
    transform = rasterio.Affine(*projection.transform) * rasterio.Affine.translation(col, row)
    with rasterio.MemoryFile() as memory:
        with memory.open(driver='GTiff', width=width, height=height, count=len(layers), dtype=kind,
                         crs=find_crs(projection.crs).to_wkt(), transform=transform,
                         compress='deflate', zlevel=1) as file:
            for number, (name, (values, mask)) in enumerate(zip(names, layers), 1):
                file.write(values.astype(kind) if mask is None
                           else np.where(mask, values, blank).astype(kind), number)
                file.set_band_description(number, name)
        return memory.read()


# tables

def table(collection, file_format, selectors=None):
    """(bytes, content type) of a collection in one of the formats of the service."""
    elements = collection.elements()
    if file_format in (None, 'CSV'):
        refuse_long(len(elements), BEHAVIOUR['table_limit'])
        return encode_csv(elements, selectors).encode(), 'text/csv'
    if file_format not in ('GEO_JSON', 'JSON'):
        raise EEError(f'The stand-in knows no file format {file_format}.')
    content = evaluate.to_json(collection)
    for feature in content['features'] if selectors else []:
        feature['properties'] = {key: feature['properties'].get(key) for key in selectors}
    return json.dumps(content).encode(), 'application/json'


def encode_csv(elements, selectors):
    """Columns as selected, or system:index, all properties of the first element, and .geo."""
    if not selectors:
        first = sorted(elements[0].properties) if elements else []
        selectors = ['system:index', *first, '.geo']
    file = io.StringIO()
    writer = csv.writer(file, lineterminator=BEHAVIOUR['csv_newline'])
    writer.writerow(selectors)
    writer.writerows([cell(element, name) for name in selectors] for element in elements)
    text = file.getvalue()
    return text if BEHAVIOUR['csv_final_newline'] else text.removesuffix(BEHAVIOUR['csv_newline'])


def cell(element, name):
    """The text of a property; a feature without geometry has one of no points."""
    value = element.get(name)
    if name == '.geo':
        return json.dumps(evaluate.to_json(value) if value else
                          {'type': 'MultiPoint', 'coordinates': []}, separators=(',', ':'))
    if value is None:
        return BEHAVIOUR['csv_null']
    return float_text(value) if isinstance(value, float) else to_string(value)


def float_text(value):
    """A number of 10 decimals at most, or one as Java writes it."""
    if BEHAVIOUR['csv_float'] == 'short':
        text = repr(round(value, 10))
        return text.removesuffix('.0')
    if value and not 1e-3 <= abs(value) < 1e7:
        digits, _, power = np.format_float_scientific(value, trim='0').partition('e')
        return f'{digits}E{int(power)}'
    return repr(value)
