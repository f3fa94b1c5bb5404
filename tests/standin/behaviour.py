"""Switches for what no source says of the real service, or what isn't the same everywhere.

    python tests/standin --behaviour csv_float=long,download_limit=50331648 chips.py
    standin.set(behaviour={'error_body': 'html'})
"""

BEHAVIOUR = {
    # how much
    'max_images': None,  # more images than these, mapped or reduced, are too many for a request
    'max_images_text': 'User memory limit exceeded.',  # or 'Computation timed out.'
    'max_images_status': 400,  # or 500, 503, 504: the status that goes with it
    'download_limit': 33554432,  # or 50331648: bytes of an image, with a byte a pixel for the mask
    'aggregate_limit': None,  # or 5000: elements that aggregate_array and reduceColumns accept
    'table_limit': None,  # or 5000: rows of a CSV
    # errors
    'capacity_status': 400,  # or 429, 500: of 'Earth Engine capacity exceeded' and 'Too many
                             # concurrent aggregations.', the faults capacity and aggregations
    'not_found_status': 404,  # or 400: of '... asset not found'
    'error_body': 'json',  # or 'html', 'text': how the GET of a result words an error
    # images
    'png_alpha': 'auto',  # RGBA: 'auto' where a picture has masked pixels, 'always' or 'never'
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
