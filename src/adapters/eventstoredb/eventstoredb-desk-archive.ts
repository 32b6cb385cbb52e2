import type { EsdbProposed } from './eventstoredb-client.ts'
import type { Op } from './eventstoredb-desk-state.ts'
import { fieldsOf, recordOf, type EsdbEvent } from './eventstoredb-event.ts'
import type { EsdbFailure } from './eventstoredb-failure.ts'
import type { EsdbLink } from './eventstoredb-link.ts'

const PART_BYTES_MAX = 400_000
const PART = '-desk-part'
const WHOLE = '-desk-whole'
const PAGE = 64

/** A desk as it was at one revision. */
export interface Archived {
  readonly revision: bigint
  readonly items: readonly unknown[]
}

/**
 * The desk's state, written down now and then in parts, so that nobody has to read the desk from its beginning. An archive counts from its last event
 * on: what a dead process left unfinished is passed over.
 */
export class EsdbDeskArchive {
  readonly #link: EsdbLink
  readonly #stream: string

  constructor(link: EsdbLink, stream: string) {
    this.#link = link
    this.#stream = stream
  }

  /** Writes an archive; undefined where it stands, else why it does not. @param id unique. */
  async write(id: string, { revision, items }: { readonly revision: bigint; readonly items: readonly Op[] }): Promise<EsdbFailure | undefined> {
    const parts = partsOf(items)
    let first = -1n
    for (const [at, part] of parts.entries()) {
      const result = await this.#append(recordOf(`${id}/${at}`, PART, { id, items: part }))
      if (typeof result !== 'bigint') return result
      if (at === 0) first = result
    }
    const whole = await this.#append(recordOf(`${id}/whole`, WHOLE, { id, at: `${revision}`, first: `${first}`, parts: parts.length }))
    if (typeof whole !== 'bigint') return whole
    // Earlier archives are of no use any more.
    await this.#link.call((client) => client.setStreamMetadata(this.#stream, { truncateBefore: Number(first) }, this.#link.callOptions))
    return undefined
  }

  /** The last archive, undefined where there is none; or why it could not be read. */
  async read(): Promise<Archived | EsdbFailure | undefined> {
    let from: bigint | 'end' = 'end'
    for (;;) {
      const fromRevision: bigint | 'end' = from
      const result = await this.#link.read((client) => client.readStream(this.#stream, { ...this.#link.callOptions, direction: 'backwards', fromRevision, maxCount: PAGE }))
      if (result.kind === 'failed') return result.failure.kind === 'stream-missing' ? undefined : result.failure
      const { events } = result.value
      const whole = events.find(({ type }) => type === WHOLE)
      if (whole !== undefined) return await this.#collect(whole)
      const oldest = events.at(-1)
      if (oldest === undefined || oldest.revision === 0n) return undefined
      from = oldest.revision - 1n
    }
  }

  async #collect(whole: EsdbEvent): Promise<Archived | EsdbFailure | undefined> {
    const fields = fieldsOf(whole)
    const [id, parts] = [fields['id'], fields['parts']]
    const items: unknown[] = []
    let next = bigintOf(fields['first'])
    for (let found = 0; found !== parts && next < whole.revision; ) {
      const fromRevision = next
      const result = await this.#link.read((client) => client.readStream(this.#stream, { ...this.#link.callOptions, direction: 'forwards', fromRevision, maxCount: PAGE }))
      if (result.kind === 'failed') return result.failure
      for (const event of result.value.events) {
        next = event.revision + 1n
        const part = event.type === PART ? fieldsOf(event) : {}
        if (part['id'] !== id || !Array.isArray(part['items'])) continue
        items.push(...part['items'].map((item: unknown) => item))
        found++
      }
      if (result.value.events.length === 0) return undefined
    }
    return { revision: bigintOf(fields['at']), items }
  }

  async #append(event: EsdbProposed): Promise<bigint | EsdbFailure> {
    const result = await this.#link.call((client) => client.appendToStream(this.#stream, [event], { ...this.#link.callOptions, expectedRevision: 'any', streamState: 'any' }))
    return result.kind === 'failed' ? result.failure : result.value.nextExpectedRevision
  }
}

function partsOf(items: readonly Op[]): readonly (readonly Op[])[] {
  const parts: Op[][] = [[]]
  let bytes = 0
  for (const item of items) {
    const size = JSON.stringify(item).length
    if (bytes > 0 && bytes + size > PART_BYTES_MAX) {
      parts.push([])
      bytes = 0
    }
    parts.at(-1)?.push(item)
    bytes += size
  }
  return parts
}

function bigintOf(value: unknown): bigint {
  return typeof value === 'string' && /^-?\d+$/.test(value) ? BigInt(value) : -1n
}
