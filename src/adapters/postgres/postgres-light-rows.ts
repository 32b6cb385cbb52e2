import type { WireMessage } from '../../core/envelope.ts'
import type { PgRow } from './postgres-client.ts'
import type { PgStep } from './postgres-link.ts'
import { messageOf, packed, recordOf } from './postgres-record.ts'
import { bytesAt, PgStatement, textAt } from './postgres-rows.ts'

/** What kind of light message it is. `n`: nobody answers. */
export type LightKind = 'broadcast' | 'request' | 'reply' | 'none'

/** A light message on its way: to those who listen to a type, to one who answers it, or to an address. */
export interface LightNote {
  readonly kind: LightKind
  /** A type for `broadcast` and `request`, an address for the others. */
  readonly target: string
  readonly replyTo: string
  readonly message: WireMessage | undefined
  /** The one instance that a request is for; undefined for any that answers. */
  readonly to?: string | undefined
}

/** A light message that came in; `row` where it is too large for a notification and is to be read. */
export interface LightArrival {
  readonly kind: LightKind
  readonly replyTo: string
  readonly message: WireMessage | undefined
  readonly row: string | undefined
}

/** Longest record that fits a notification: 8,000 bytes, as base64, with what stands before it. */
const RECORD_BYTES_MAX = 5_400

/** The statements about light messages for one schema. */
export class PgLightRows {
  readonly #send: PgStatement
  readonly #take: PgStatement
  readonly #read: PgStatement

  /**
   * @param schema quoted.
   */
  constructor(schema: string) {
    this.#send = new PgStatement(sendText(schema))
    this.#take = new PgStatement(
      `WITH taken AS (DELETE FROM ${schema}.bus_light WHERE id IN (SELECT id FROM ${schema}.bus_light WHERE address = $1 ORDER BY id LIMIT $2) RETURNING id, note, message)
        SELECT id, note, message FROM taken ORDER BY id`,
    )
    this.#read = new PgStatement(`SELECT id, note, message FROM ${schema}.bus_light WHERE id = ANY($1::bigint[]) ORDER BY id`)
  }

  /**
   * Sends notes in one statement and transaction, in order. Its rows are the places of questions that nobody answers.
   *
   * Notifications are sent and rows written in a transaction that need not survive a crash: the lock that NOTIFY holds to the end of
   * its commit is then held for microseconds (P-11).
   */
  send(notes: readonly LightNote[], nonce: number, channels: readonly string[]): PgStep {
    const records = notes.map(({ message }) => (message === undefined ? undefined : recordOf(message)))
    const stored = records.flatMap((record) => (record !== undefined && record.bytes > RECORD_BYTES_MAX ? [record] : []))
    const starts: (number | null)[] = []
    const lengths: number[] = []
    const heads: string[] = []
    const payloads: (string | null)[] = []
    let at = 1
    for (const [index, note] of notes.entries()) {
      const record = records[index]
      const head = headOf(note, `${nonce + index}`)
      const isStored = record !== undefined && record.bytes > RECORD_BYTES_MAX
      heads.push(head)
      starts.push(isStored ? at : null)
      lengths.push(record?.bytes ?? 0)
      payloads.push(isStored ? null : record === undefined ? '' : packed([record]).toString('base64'))
      if (isStored) at += record.bytes
    }
    return {
      statement: this.#send,
      values: [notes.map(({ kind }) => kind), notes.map(({ target }) => plain(target)), heads, payloads, starts, lengths, packed(stored), channels, notes.map(({ to }) => (to === undefined ? null : plain(to)))],
    }
  }

  /** Takes what stands in an inbox. */
  take(address: string, limit: number): PgStep {
    return { statement: this.#take, values: [address, limit] }
  }

  /** Reads rows that notifications spoke of. */
  read(ids: readonly string[]): PgStep {
    return { statement: this.#read, values: [`{${ids.join(',')}}`] }
  }
}

/** Reads a notification; undefined for what is none of ours. */
export function arrivalFrom(payload: string): LightArrival | undefined {
  const [kind = '', , reply = '', row = '', record = ''] = payload.split('|', 5)
  const known = kindFrom(kind)
  if (known === undefined) return undefined
  const replyTo = decodeURIComponent(reply)
  if (row !== '') return { kind: known, replyTo, message: undefined, row }
  return { kind: known, replyTo, row: undefined, message: record === '' ? undefined : messageOf(Buffer.from(record, 'base64'), 'postgres-light') }
}

/** Reads a row of `take` or `read`. */
export function arrivalFromRow(row: PgRow): LightArrival | undefined {
  const arrival = arrivalFrom(textAt(row, 'note'))
  if (arrival === undefined) return undefined
  const message = row['message'] === null ? arrival.message : messageOf(bytesAt(row, 'message'), `postgres-light-${textAt(row, 'id')}`)
  return { ...arrival, message, row: undefined }
}

/** Reads the answer of `send`: places of questions that nobody answers. */
export function unansweredFrom(rows: readonly PgRow[]): readonly number[] {
  const places = textAt(rows[0] ?? {}, 'unanswered')
  return places === '' ? [] : places.split(',').map((place) => Number(place) - 1)
}

const KINDS: readonly LightKind[] = ['broadcast', 'request', 'reply', 'none']

function kindFrom(text: string): LightKind | undefined {
  return KINDS.find((kind) => kind === text)
}

/** Two equal notifications of one transaction arrive as one, so each has a number of its own. */
function headOf({ kind, replyTo }: LightNote, nonce: string): string {
  return `${kind}|${nonce}|${encodeURIComponent(replyTo)}`
}

function plain(text: string): string {
  return text.replaceAll('\0', '\uFFFD')
}

function sendText(schema: string): string {
  return `
    WITH quick AS (SELECT set_config('synchronous_commit', 'off', true)),
    note AS MATERIALIZED (
      SELECT n.* FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::integer[], $8::text[], $9::text[]) WITH ORDINALITY
        AS n (kind, target, head, payload, start, length, channel, addressee, place)
    ),
    goal AS MATERIALIZED (
      SELECT n.place, n.head, n.payload, n.start, n.length, i.address, i.inbox, i.is_listening FROM note n CROSS JOIN LATERAL (
        SELECT i.address, i.inbox, i.is_listening FROM ${schema}.bus_listener l JOIN ${schema}.bus_instance i ON i.id = l.instance_id
        WHERE l.kind = 'request' AND l.type = n.target AND i.until > statement_timestamp() AND (n.addressee IS NULL OR i.address = n.addressee) ORDER BY random() LIMIT 1
      ) i WHERE n.kind = 'request'
      UNION ALL
      SELECT n.place, n.head, n.payload, n.start, n.length, i.address, i.inbox, i.is_listening
      FROM note n JOIN ${schema}.bus_instance i ON i.address = n.target WHERE n.kind IN ('reply', 'none')
      UNION ALL
      SELECT n.place, n.head, n.payload, n.start, n.length, i.address, i.inbox, false
      FROM note n JOIN ${schema}.bus_listener l ON l.kind = 'broadcast' AND l.type = n.target JOIN ${schema}.bus_instance i ON i.id = l.instance_id
      WHERE n.kind = 'broadcast' AND NOT i.is_listening
      UNION ALL
      SELECT n.place, n.head, n.payload, n.start, n.length, '', n.channel, true FROM note n WHERE n.kind = 'broadcast' AND EXISTS (
        SELECT FROM ${schema}.bus_listener l JOIN ${schema}.bus_instance i ON i.id = l.instance_id
        WHERE l.kind = 'broadcast' AND l.type = n.target AND i.is_listening
      )
    ),
    kept AS (
      INSERT INTO ${schema}.bus_light (address, note, message)
      SELECT CASE WHEN is_listening THEN '' ELSE address END, head || '||' || coalesce(payload, ''),
        CASE WHEN start IS NULL THEN NULL ELSE substring($7::bytea FROM start FOR length) END
      FROM goal WHERE NOT is_listening OR start IS NOT NULL ORDER BY place, address
      RETURNING id, note, address
    ),
    told AS (
      SELECT count(pg_notify(t.inbox, t.text)) FROM (
        SELECT g.place, g.inbox, g.head || '||' || g.payload AS text FROM goal g WHERE g.is_listening AND g.start IS NULL
        UNION ALL
        SELECT g.place, g.inbox, g.head || '|' || k.id FROM goal g JOIN kept k ON k.note = g.head || '||' AND k.address = ''
        WHERE g.is_listening AND g.start IS NOT NULL
        ORDER BY place
      ) t
    )
    SELECT coalesce((
      SELECT string_agg(n.place::text, ',' ORDER BY n.place) FROM note n WHERE n.kind = 'request' AND NOT EXISTS (SELECT FROM goal WHERE goal.place = n.place)
    ), '') AS unanswered FROM told CROSS JOIN quick`
}
