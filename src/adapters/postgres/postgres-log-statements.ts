import { PgStatement } from './postgres-rows.ts'

/** Bodies of one page in bytes: a page ends early where events are large. */
const PAGE_BYTES_MAX = 4_194_304

/** What expectation of a stream an append has. */
export type Expectation = 'exact' | 'noStream' | 'any'

/** The statements of the event log in one schema. */
export interface LogStatements {
  /** $1 stream, $2 category, $3 revision expected, $4 attributes, $5 body. A row per event; none where the expectation failed. */
  readonly appendOne: Readonly<Record<Expectation, PgStatement>>
  /** The same with arrays as $4 and $5, and their length as $6. */
  readonly appendMany: Readonly<Record<Expectation, PgStatement>>
  /** $1 streams, $2 revisions expected, $3 numbers of events, $4 categories; of every event $5 stream, $6 revision, $7 attributes, $8 body. A row per stream whose expectation held. */
  readonly appendStreams: Readonly<Record<Exclude<Expectation, 'any'>, PgStatement>>
  /** $1 stream, $2 first revision, $3 last revision: what is there, and where the stream is. */
  readonly find: PgStatement
  /** $1 stream, $2 cursor, $3 limit. */
  readonly stream: Readonly<Record<'forwards' | 'backwards', PgStatement>>
  /** $1 streams, $2 cursors, $3 limits: `place` is that of the stream. */
  readonly streams: PgStatement
  /** $1 cursor, $2 limit, $3 the last position that is safe. */
  readonly all: Readonly<Record<'forwards' | 'backwards', PgStatement>>
  /** The same with the category as $4. */
  readonly category: Readonly<Record<'forwards' | 'backwards', PgStatement>>
  readonly metadata: PgStatement
  readonly setMetadata: PgStatement
  /** $1 stream, $2 limit: removes what the stream's settings have ended. */
  readonly scavenge: PgStatement
  /** The smallest setting that readers rely on. */
  readonly check: PgStatement
}

/** True where the stream's settings will end some of its events. */
const LIMITED = 'coalesce(count_max, age_max_ms) IS NOT NULL AS limited'

// What an append does to the stream's row: it locks it, so that the positions that are taken next are in revision order within it.
const STREAM: Readonly<Record<Expectation, (schema: string, count: string) => string>> = {
  exact: (schema, count) => `UPDATE ${schema}.stream SET revision = revision + ${count} WHERE name = $1::text AND revision = $3::bigint RETURNING id, category, revision, ${LIMITED}`,
  noStream: (schema, count) => `INSERT INTO ${schema}.stream AS s (name, category, revision) VALUES ($1::text, $2::text, ${count} - 1)
  ON CONFLICT (name) DO UPDATE SET revision = excluded.revision WHERE s.revision = -1 RETURNING id, category, revision, ${LIMITED}`,
  any: (schema, count) => `INSERT INTO ${schema}.stream AS s (name, category, revision) VALUES ($1::text, $2::text, ${count} - 1)
  ON CONFLICT (name) DO UPDATE SET revision = s.revision + ${count} RETURNING id, category, revision, ${LIMITED}`,
}

/** Events that the settings of their stream have ended; `s` and `e` are the rows. */
const ENDED = `(e.revision < s.truncate_before OR e.revision <= s.revision - s.count_max
    OR e.stored_at < clock_timestamp() - s.age_max_ms * interval '1 millisecond')`

/** Makes them. `schema` is quoted. */
export function logStatements(schema: string): LogStatements {
  return {
    appendOne: perExpectation((expectation) => appendOne(schema, expectation)),
    appendMany: perExpectation((expectation) => appendMany(schema, expectation)),
    appendStreams: { exact: appendStreams(schema, 'exact'), noStream: appendStreams(schema, 'noStream') },
    find: new PgStatement(`SELECT s.revision AS head, e.position, e.attributes FROM ${schema}.stream s
LEFT JOIN ${schema}.event e ON e.stream_id = s.id AND e.revision BETWEEN $2::bigint AND $3::bigint WHERE s.name = $1::text ORDER BY e.revision`),
    stream: { forwards: streamRead(schema, '>', 'ASC'), backwards: streamRead(schema, '<', 'DESC') },
    streams: streamsRead(schema),
    all: { forwards: positionRead(schema, '>', 'ASC', ''), backwards: positionRead(schema, '<', 'DESC', '') },
    category: {
      forwards: positionRead(schema, '>', 'ASC', 'category = $4::text AND'),
      backwards: positionRead(schema, '<', 'DESC', 'category = $4::text AND'),
    },
    metadata: new PgStatement(`SELECT truncate_before, count_max, age_max_ms, custom FROM ${schema}.stream WHERE name = $1::text`),
    setMetadata: new PgStatement(`INSERT INTO ${schema}.stream AS s (name, category, revision, truncate_before, count_max, age_max_ms, custom)
VALUES ($1::text, $2::text, -1, $3::bigint, $4::bigint, $5::bigint, $6::text) ON CONFLICT (name) DO UPDATE
SET truncate_before = excluded.truncate_before, count_max = excluded.count_max, age_max_ms = excluded.age_max_ms, custom = excluded.custom`),
    scavenge: new PgStatement(`DELETE FROM ${schema}.event WHERE (stream_id, revision) IN (
  SELECT e.stream_id, e.revision FROM ${schema}.stream s JOIN ${schema}.event e ON e.stream_id = s.id
  WHERE s.name = $1::text AND ${ENDED} ORDER BY e.revision LIMIT $2::bigint)`),
    check: new PgStatement(`SELECT (SELECT max(seqcache) FROM pg_catalog.pg_sequence WHERE seqrelid IN ('${schema}.event_position'::regclass, '${schema}.outbox_id'::regclass)) AS cache,
  pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS position FROM pg_catalog.pg_attrdef d
WHERE d.adrelid = '${schema}.event'::regclass AND d.adnum = 1`),
  }
}

function perExpectation(make: (expectation: Expectation) => PgStatement): Readonly<Record<Expectation, PgStatement>> {
  return { exact: make('exact'), noStream: make('noStream'), any: make('any') }
}

/** Parameters that an expectation has no use for are named nevertheless: PostgreSQL wants to know the type of each. */
const UNUSED = 'WHERE $2::text IS NOT NULL AND $3::bigint IS NOT NULL'

function appendOne(schema: string, expectation: Expectation): PgStatement {
  return new PgStatement(`WITH s AS (${STREAM[expectation](schema, '1')})
INSERT INTO ${schema}.event (stream_id, revision, category, attributes, body)
SELECT id, revision, category, $4::text, $5::bytea FROM s ${UNUSED} RETURNING position, revision, (SELECT limited FROM s) AS limited`)
}

// The position is the default of its column. PostgreSQL works defaults out above the sort, so in order and after the lock on
// the stream's row, which the sort cannot begin without.
function appendMany(schema: string, expectation: Expectation): PgStatement {
  return new PgStatement(`WITH s AS (${STREAM[expectation](schema, '$6::bigint')})
INSERT INTO ${schema}.event (stream_id, revision, category, attributes, body)
SELECT id, revision - $6::bigint + given.n, category, given.attributes, given.body
FROM s, unnest($4::text[], $5::bytea[]) WITH ORDINALITY AS given (attributes, body, n) ${UNUSED} ORDER BY given.n
RETURNING position, revision, (SELECT limited FROM s) AS limited`)
}

// One statement for several streams. What it is given comes in the order of the streams' names, so that two of them wait for each other in one order only.
function appendStreams(schema: string, expectation: 'exact' | 'noStream'): PgStatement {
  const given = 'unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[]) AS given (name, expected, count, category)'
  const streams = expectation === 'exact'
    ? `UPDATE ${schema}.stream AS s SET revision = s.revision + given.count FROM ${given} WHERE s.name = given.name AND s.revision = given.expected RETURNING s.id, s.name, s.category, s.revision, ${LIMITED}`
    : `INSERT INTO ${schema}.stream AS s (name, category, revision) SELECT given.name, given.category, given.count - 1 FROM ${given} WHERE given.expected = -1
  ON CONFLICT (name) DO UPDATE SET revision = excluded.revision WHERE s.revision = -1 RETURNING id, name, category, revision, ${LIMITED}`
  return new PgStatement(`WITH s AS (${streams}), e AS (
  INSERT INTO ${schema}.event (stream_id, revision, category, attributes, body)
  SELECT s.id, given.revision, s.category, given.attributes, given.body
  FROM s JOIN unnest($5::text[], $6::bigint[], $7::text[], $8::bytea[]) WITH ORDINALITY AS given (name, revision, attributes, body, n) ON given.name = s.name ORDER BY given.n
  RETURNING stream_id, position
) SELECT s.name, s.revision, s.limited, max(e.position) AS position FROM s JOIN e ON e.stream_id = s.id GROUP BY s.name, s.revision, s.limited`)
}

const COLUMNS = `e.position, e.revision, date_part('epoch', e.stored_at) * 1000 AS stored_ms, e.attributes, e.body`

function streamRead(schema: string, beyond: '>' | '<', direction: 'ASC' | 'DESC'): PgStatement {
  return new PgStatement(`SELECT position, revision, stored_ms, attributes, body, found FROM (
  SELECT page.*, count(*) OVER () AS found, sum(octet_length(body)) OVER (ORDER BY revision ${direction}) - octet_length(body) AS bytes_before FROM (
    SELECT ${COLUMNS} FROM ${schema}.stream s JOIN ${schema}.event e ON e.stream_id = s.id
    WHERE s.name = $1::text AND e.revision ${beyond} $2::bigint AND (${ENDED}) IS NOT TRUE ORDER BY e.revision ${direction} LIMIT $3::bigint
  ) page
) cut WHERE bytes_before < ${PAGE_BYTES_MAX} ORDER BY revision ${direction}`)
}

function streamsRead(schema: string): PgStatement {
  return new PgStatement(`SELECT given.place, cut.position, cut.revision, cut.stored_ms, cut.attributes, cut.body, cut.found
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS given (name, cursor, most, place) JOIN ${schema}.stream s ON s.name = given.name CROSS JOIN LATERAL (
  SELECT page.*, count(*) OVER () AS found, sum(octet_length(body)) OVER (ORDER BY revision) - octet_length(body) AS bytes_before FROM (
    SELECT ${COLUMNS} FROM ${schema}.event e WHERE e.stream_id = s.id AND e.revision > given.cursor AND (${ENDED}) IS NOT TRUE ORDER BY e.revision LIMIT given.most
  ) page
) cut WHERE cut.bytes_before < ${PAGE_BYTES_MAX} ORDER BY given.place, cut.revision`)
}

/** Events that have ended come as rows without content, so that the reader's cursor passes them. */
function positionRead(schema: string, beyond: '>' | '<', direction: 'ASC' | 'DESC', condition: string): PgStatement {
  return new PgStatement(`SELECT e.position, e.revision, date_part('epoch', e.stored_at) * 1000 AS stored_ms, s.name AS stream, found,
  CASE WHEN (${ENDED}) IS NOT TRUE THEN e.attributes END AS attributes, CASE WHEN (${ENDED}) IS NOT TRUE THEN e.body END AS body FROM (
  SELECT page.*, count(*) OVER () AS found, sum(octet_length(body)) OVER (ORDER BY position ${direction}) - octet_length(body) AS bytes_before FROM (
    SELECT * FROM ${schema}.event WHERE ${condition} position ${beyond} $1::bigint AND position <= $3::bigint ORDER BY position ${direction} LIMIT $2::bigint
  ) page
) e JOIN ${schema}.stream s ON s.id = e.stream_id WHERE bytes_before < ${PAGE_BYTES_MAX} ORDER BY e.position ${direction}`)
}
