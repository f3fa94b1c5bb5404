"""Switches for what no source says of the real service, or what isn't the same everywhere.

    python tests/standin --behaviour csv_float=long,no_bands=bare chips.py
    standin.set(behaviour={'error_body': 'html'})

The first value of each was recorded or documented if its comment says so or names a source; all
else is a guess, and a script has to be right with each. The words of errors and their sources are
in sentences.py, whose head explains the abbreviations.
"""

BEHAVIOUR = {
    # how much
    'max_images': None,  # more images than these, mapped or reduced, are too many for a request
    'max_images_text': 'User memory limit exceeded.',  # or 'Computation timed out.', 'Too many
    # concurrent aggregations.', 'Quota exceeded: Too many concurrent aggregations.': all recorded
    'max_images_status': 400,  # the status that goes with it: 400 is recorded for the first two
    # texts, for the others a guess; or 429, 500, 503, 504
    'max_images_at': 'get',  # where the error of a download is told (leftfield-geospatial/geedim
    # geedim/tile.py, of memory); or 'create'
    'download_limit': 50331648,  # REST, recorded; bytes of an image, with one a pixel for the mask;
    # or 33554432, recorded until 2021
    'aggregate_limit': None,  # elements that aggregate_array and reduceColumns accept; 1.4 million
    # were recorded (rec 21846082513); or 5000
    'table_limit': None,  # rows of a CSV; more than 5,000 were recorded (rec 66012534140); or 5000
    # errors
    'no_bands': 'recorded',  # what select() says of an image made of no images; or 'old', as if it
    # had bands, or 'bare': nothing, and only the picture is refused
    'no_bands_link': True,  # whether it goes on with a link: recorded with and without
    'capacity_status': 400,  # or 429, 500: of the faults capacity, aggregations, quota-aggregations
    'not_found_status': 400,  # recorded; or 404: of '... asset not found'
    'other_project_status': 404,  # or 403: of a project that isn't there
    'expired_status': 404,  # one claim, no record; or 400, 401, 403, 410: of an id that has expired
    'expired_words': 'expired',  # a guess; or 'expired_other', another one: its sentence
    'error_body': 'json',  # recorded; or 'html', 'text': how the GET of a result words an error
    # framing
    'json_framing': 'chunked',  # recorded: no Content-Length (rec 2420918333); or 'length'
    'result_framing': 'length',  # or 'chunked': of PNG, JPEG, CSV and NPY. GeoTIFF and zip have a
    # Content-Length (leftfield-geospatial/geedim d10452e)
    # images
    'png_alpha': 'auto',  # RGBA: 'auto' where a picture has masked pixels (thumbnails kept by
    # gee-community/pytest-gee), 'always' or 'never'
    'npy_masked': 'zero',  # or 'minimum', as in a GeoTIFF: what an array has where it is masked
    'lst_fill': 'masked',  # or 'shown': as 0, the land surface temperature where lst_masked() is
    'no_centre': 'null',  # or 'touched': the pixels of a region that has no centre of one
    'sample_order': 'sorted',  # or 'shuffled': the features of stratifiedSample
    'sample_seed': 0,  # or another number: what is added to each seed
    'archive_end': None,  # or '2003-02-01': the archive has no image from this day on
    'collection_order': 'time',  # or 'reversed': the newest image of a dataset first
    # tables
    'csv_float': 'short',  # 15.3, or 'long': 15.300000000000011, 1.5E7
    'csv_newline': '\n',
    'csv_final_newline': True,
    'csv_null': '',
    'csv_bom': '',  # or '\ufeff': what a table begins with
    'csv_quotes': False,  # around each name in the header
    'csv_empty': 'header',  # or 'nothing': what a table with no row consists of
}
