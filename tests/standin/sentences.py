"""Every sentence of an error that the stand-in sends, where it is from, and some more.

RECORDED: somebody got these very words from the service and wrote them down. DOCUMENTED: Google's
pages or its client say so. GUESS: no source; a switch of behaviour.py where it matters. OWN: what
the stand-in says of itself, and the service never does.

Sources: "rec N" is file N of an index of public code; owner/name#N an issue or pull request of a
GitHub repository; DEBUG https://developers.google.com/earth-engine/guides/debugging; QUOTA
https://developers.google.com/earth-engine/guides/usage; REST a page of
https://developers.google.com/earth-engine/reference/rest/v1/; EE a file of earthengine-api 1.7.50;
LAKE a public notebook of 2023 (HydroLAKES and Global Surface Water) with its tracebacks.

A script that decides by a piece of a text should find the piece in one that is RECORDED or
DOCUMENTED: sourced() lists these.
"""
import re
from typing import NamedTuple

RECORDED, DOCUMENTED, GUESS, OWN = 'RECORDED', 'DOCUMENTED', 'GUESS', 'OWN'


class Sentence(NamedTuple):
    """A text with {placeholders}; sent is False if the stand-in never sends it."""
    name: str
    text: str
    mark: str
    source: str
    sent: bool = True


SENTENCES = [Sentence(*row) for row in (
    # ------------------------------------------------------------ bands
    ('select_no_bands',
     "Image.select: Band pattern '{pattern}' was applied to an Image with no bands.",
     RECORDED,
     'DEBUG#no-bands; rec 57471091192, 61993567127, 71430585003; swisstopo/topo-satromo#101'),
    ('picture_no_bands',
     'Expression evaluates to an image with no bands.',
     DOCUMENTED, 'DEBUG#no-bands'),
    ('no_bands_link',
     ' See https://developers.google.com/earth-engine/guides/debugging#no-bands',
     RECORDED, 'behind the two above, not always: rec 57471091192; DEBUG#no-bands'),
    ('select_no_match',
     "Image.select: Band pattern '{pattern}' did not match any bands. Available bands: [{bands}]",
     RECORDED, 'DEBUG; rec 57471091192; only if there are bands'),
    ('select_old',
     "Image.select: Band pattern '{pattern}' did not match any bands. Available bands: []",
     GUESS, 'found nowhere; only with the switch no_bands=old'),
    ('one_without_bands',
     'Image.subtract: If one image has no bands, the other must also have no bands. Got '
     '{counts}.',
     RECORDED, 'rec 6750457490, 17392254032; by unmask: rec 70311455079'),
    ('band_numbers',
     'Image.add: Images must have the same number of bands, or one of them a single one. Got '
     '{counts}.',
     GUESS, ''),
    ('rename_number',
     'Image.rename: The number of names ({names}) must match the number of bands ({bands}).',
     GUESS, ''),
    ('reduce_no_bands',
     'Image.reduceRegion: Image has no bands.',
     GUESS, ''),
    ('projections',
     'Image.projection: The bands of the specified image contains different projections. Use '
     'Image.select to pick a single band.',
     RECORDED, 'rec 11285058571, its first sentence'),
    ('homogeneous',
     'Expected a homogeneous image collection, but an image with incompatible bands was '
     'encountered.',
     RECORDED, 'public tracebacks'),
    ('homogeneous_types',
     ' First image type: {first}. Current image type: {other}. Some bands might require '
     'explicit casts.',
     GUESS, 'how it goes on'),
    ('visualize',
     'Image.visualize: Expected 1 or 3 bands, and 1 with a palette, got {count}.',
     GUESS, ''),
    ('picture_bands',
     '{format}: Expected 1 or 3 bands of type uint8, as visualize() makes them, got {count}: '
     '{types}.',
     GUESS, 'that it must be 1 or 3: REST projects.thumbnails/create'),
    # ------------------------------------------------------------ too much
    ('memory',
     'User memory limit exceeded.',
     RECORDED, 'DEBUG; LAKE (400); rec 70095323180'),
    ('timed_out',
     'Computation timed out.',
     RECORDED, 'DEBUG; gee-community/geemap#1790 (400)'),
    ('aggregations',
     'Too many concurrent aggregations.',
     RECORDED,
     'DEBUG; QUOTA; Vizzuality/mangrove-atlas#1522; rec 70282478640; status unknown'),
    ('quota_aggregations',
     'Quota exceeded: Too many concurrent aggregations.',
     RECORDED, 'Sofianebouaziz1/WGAST#2; rec 56686432721; status unknown'),
    ('elements',
     'Collection query aborted after accumulating over {limit} elements.',
     RECORDED, 'with 5000, in much public code'),
    ('pixels',
     'Image.reduceRegion: Too many pixels in the region. Found {count}, but maxPixels allows '
     'only {limit}.\nEnsure that you are not aggregating at a higher resolution than you '
     'intended; that is the most frequent cause of this error. If not, then you may set the '
     "'maxPixels' argument to a limit suitable for your computation; set 'bestEffort' to true "
     "to aggregate at whatever scale results in 'maxPixels' total pixels; or both.",
     RECORDED, 'public logs; DEBUG has an older form'),
    ('request_size',
     'Total request size ({total} bytes) must be less than or equal to {limit} bytes.',
     RECORDED,
     'alan-turing-institute/monitoring-ecosystem-resilience#270; with 50331648: '
     'gee-community/geemap#889, gee-community/qgis-earthengine-plugin#413, google/Xee#50'),
    ('grid_size',
     'Pixel grid dimensions ({width}x{height}) must be less than or equal to {limit}.',
     RECORDED, 'google/Xee#85'),
    ('payload',
     'Request payload size exceeds the limit: 10485760 bytes.',
     RECORDED, 'gee-community/geemap#1013, #1092, #1093', False),
    ('old_pixels',
     'Image.reduceRegion: Too many pixels in the region. Found {count}, but only 10000000 '
     'allowed.',
     DOCUMENTED, 'DEBUG', False),
    # ------------------------------------------------------------ busy
    ('rate',
     'Too Many Requests: Request was rejected because the request rate or concurrency limit was '
     'exceeded.',
     RECORDED, 'LAKE (429)'),
    ('restricted',
     'Too Many Requests: Exceeded Earth Engine concurrency limit. Your project is in Restricted '
     'Mode.',
     RECORDED, '429: rec 69721175708, 62434793917, 66496752710, 57585575614'),
    ('unavailable',
     'The service is currently unavailable.',
     RECORDED, 'LAKE (503)'),
    ('capacity',
     'Earth Engine capacity exceeded',
     RECORDED, 'openearth/hydro-engine#35'),
    ('memory_capacity',
     'Earth Engine memory capacity exceeded',
     RECORDED, 'openearth/hydro-engine#35', False),
    ('quota',
     "Quota exceeded for quota metric 'Number of read requests' and limit 'Number of read "
     "requests per minute per user' of service 'earthengine.googleapis.com' for consumer "
     "'project_number:{number}'.",
     RECORDED, '429: gee-community/qgis-earthengine-plugin#202', False),
    ('rate_403',
     'Rate Limit Exceeded',
     DOCUMENTED, '403; googleapiclient/http.py tries it again by its reason'),
    ('rate_reason',
     'rateLimitExceeded',
     DOCUMENTED, 'a reason, in googleapiclient/http.py'),
    ('user_rate_reason',
     'userRateLimitExceeded',
     DOCUMENTED, 'a reason, in googleapiclient/http.py', False),
    ('rate_info',
     'RATE_LIMIT_EXCEEDED',
     DOCUMENTED,
     'a reason: github.com/googleapis/googleapis google/api/error_reason.proto'),
    ('too_much',
     'Too much.',
     GUESS, 'that the message need not tell, but the reason behind it'),
    ('timeout_408',
     'Request timed out.',
     GUESS, 'the status is that of HTTP'),
    ('aborted_409',
     'The operation was aborted.',
     DOCUMENTED,
     'the description of ABORTED in github.com/googleapis/googleapis google/rpc/code.proto'),
    ('cancelled_499',
     'The operation was cancelled.',
     DOCUMENTED, 'google/rpc/code.proto: CANCELLED'),
    ('internal_500',
     'An internal error has occurred.',
     GUESS, ''),
    ('deadline_504',
     'Deadline exceeded.',
     GUESS, 'the status is DEADLINE_EXCEEDED of code.proto'),
    ('page',
     'That is an error.',
     GUESS, 'a page of HTML in place of JSON'),
    ('no_upstream',
     'upstream connect error',
     GUESS, 'the beginning of what the proxy Envoy says'),
    ('escapes',
     '\x1b[31mThe service \x1b]0;title\x07is away.\x1b[2J',
     GUESS, 'that a message may hold anything'),
    # ------------------------------------------------------------ access
    ('unauthenticated',
     'Request had invalid authentication credentials. Expected OAuth 2 access token, login '
     'cookie or other valid authentication credential.',
     GUESS, '401, as other Google APIs word it'),
    ('no_token',
     'Request is missing required authentication credential. Expected OAuth 2 access token, '
     'login cookie or other valid authentication credential.',
     GUESS, '401, as other Google APIs word it'),
    ('no_permission',
     'Caller does not have required permission to use project {project}. Grant the caller the '
     'roles/serviceusage.serviceUsageConsumer role, or a custom role with the '
     'serviceusage.services.use permission, by visiting '
     'https://console.developers.google.com/iam-admin/iam/project?project={project} and then '
     'retry. Propagation of the new permission may take a few minutes.',
     RECORDED, '403: nasaharvest/street2sat#51'),
    ('not_registered',
     'Project {project} is not registered to use Earth Engine. Visit '
     'https://console.cloud.google.com/earth-engine/configuration?project={project} to register '
     'your project.',
     RECORDED, '403: rec 70868923316'),
    ('no_project',
     "Project 'projects/{project}' not found or deleted.",
     RECORDED,
     'rec 60830091755; gee-community/qgis-earthengine-plugin#145; neither tells the status'),
    ('api_off',
     'Google Earth Engine API has not been used in project {project} before or it is disabled. '
     'Enable it by visiting',
     RECORDED,
     '403: google/earthengine-community#762; healthysustainablecities/global-indicators#547',
     False),
    ('sign_in',
     'Please authorize access to your Earth Engine account by running\n\nearthengine '
     'authenticate\n\nin your command line, or ee.Authenticate() in Python, and then retry.',
     DOCUMENTED, 'EE data.py: what the client says', False),
    ('no_project_given',
     'ee.Initialize: no project found. Call with project= or see http://goo.gle/ee-auth.',
     DOCUMENTED, 'EE __init__.py: what the client says', False),
    ('grant',
     'Token has been expired or revoked.',
     RECORDED, 'invalid_grant: rec 60830091755'),
    ('scope',
     'Invalid OAuth scope or ID token audience provided.',
     RECORDED, 'invalid_scope, 400: rec 24273874232, 23296645952'),
    ('expired',
     'Requested entity was not found.',
     GUESS, 'what an expired id is answered: no record; the status is a switch'),
    ('expired_other',
     'The link is no longer valid.',
     GUESS, 'the same in words that no script can know'),
    ('not_found',
     "{kind}.{function}: {kind} asset '{name}' not found (does not exist or caller does not "
     'have access).',
     RECORDED, '400: Open-EO/openeo-earthengine-driver#18; Open-ET/openet-ssebop#74'),
    ('tag',
     'Invalid tag, "{tag}". Tags must be 1-63 characters, beginning and ending with a lowercase '
     'alphanumeric character ([a-z0-9]) with dashes (-), underscores (_), and lowercase '
     'alphanumerics between.',
     DOCUMENTED, 'EE _state.py; that the service says it too is a guess'),
    # ------------------------------------------------------------ values
    ('in_map',
     'Error in map(ID={index}):\n{error}',
     DOCUMENTED, 'DEBUG'),
    ('mapped',
     'Collection.map: A mapped algorithm must return a Feature or Image.',
     DOCUMENTED, 'DEBUG'),
    ('required',
     "Image.addBands: Parameter '{name}' is required.",
     RECORDED, 'ageller/EarthEngineToGeoTIFF#1; DEBUG'),
    ('type',
     'Image.select: Invalid type. Expected type: {expected}. Actual: {actual}.',
     GUESS, ''),
    ('date',
     "Date: Bad date/time '{text}'.",
     RECORDED, 'public tracebacks'),
    ('list_index',
     'List.get: List index must be between 0 and {last}. Found {index}.',
     RECORDED, 'rec 8233322930, its beginning'),
    ('no_key',
     "Dictionary.get: Dictionary does not contain key: '{key}'.",
     RECORDED, '400: rec 70868923316'),
    ('crs',
     "Projection: The CRS of a map projection could not be parsed: '{name}'.",
     GUESS, ''),
    ('unbounded_region',
     "Image.reduceRegion: Provide 'geometry' parameter when aggregating over an unbounded image.",
     RECORDED, 'rec 3553391632'),
    ('unbounded_picture',
     'Image: Unable to compute the bounds of an unbounded image; give a region.',
     GUESS, ''),
    ('empty_region',
     'Image: The region is empty.',
     GUESS, ''),
    ('selectors',
     'Collection.reduceColumns: Need {needed} input selectors, got {count}.',
     GUESS, ''),
    ('class_band',
     "Image.stratifiedSample: Class band '{name}' must be an integer.",
     GUESS, ''),
    ('deep',
     'Expression evaluates to a graph that is too deep.',
     GUESS, ''),
    # ------------------------------------------------------------ the stand-in itself
    ('lacks',
     'The stand-in knows no {what}.',
     OWN, ''),
    ('lacks_of',
     '{algorithm}: The stand-in knows no {what}.',
     OWN, ''),
    ('failed',
     'The stand-in failed: {error}',
     OWN, ''),
    ('broke',
     '{algorithm}: {error}',
     OWN, 'an error of Python in an algorithm'),
    ('proxy',
     'The stand-in does not know {place}',
     OWN, ''),
    ('proxy_407',
     'Proxy Authentication Required',
     DOCUMENTED, 'RFC 9110, 15.5.8'),
)]
TEXTS = {sentence.name: sentence.text for sentence in SENTENCES}


def say(name, /, **values):
    """The text of a sentence with its placeholders filled."""
    return TEXTS[name].format(**values)


def say_of_caller(name, /, **values):
    """The same without its algorithm: the evaluator puts the name of the caller in front."""
    return re.sub(r'^\w+\.?\w*(?=: )', '', say(name, **values))


def sourced():
    """All texts that have a source: what a script may go by."""
    return [sentence.text for sentence in SENTENCES if sentence.mark in (RECORDED, DOCUMENTED)]
