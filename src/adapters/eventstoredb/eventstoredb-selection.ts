import type { Selection, StreamMetadata } from '../../store/port.ts'
import type { EsdbFilter } from './eventstoredb-client.ts'
import type { EsdbEvent } from './eventstoredb-event.ts'

// Which events a reader wants, for the server and for ourselves. System projections may be off, so categories are filters on stream names.

/** Streams of the server and of the transport begin with these. */
const OTHERS = /^(?:\$|trunkline-)/

/** True where a reader of the log wants the event. */
export function isSelected(selection: Selection, { stream }: Pick<EsdbEvent, 'stream'>): boolean {
  if (selection.kind === 'stream') return stream === selection.stream
  if (OTHERS.test(stream)) return false
  return selection.kind === 'all' || stream === selection.category || stream.startsWith(`${selection.category}-`)
}

/** The same for the server. */
export function filterOf(selection: Exclude<Selection, { kind: 'stream' }>): Pick<EsdbFilter, 'filterOn' | 'regex'> {
  if (selection.kind === 'all') return { filterOn: 'streamName', regex: '^(?!\\$|trunkline-)' }
  return { filterOn: 'streamName', regex: `^${escaped(selection.category)}(?:-|$)` }
}

/** A text that means itself in the patterns of the server and of JavaScript. */
function escaped(text: string): string {
  return Array.from({ length: text.length }, (_, at) => {
    const unit = text.charAt(at)
    return /\w/.test(unit) && unit < '\u0080' ? unit : `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
  }).join('')
}

/** What the client calls settings of a stream, as ours. */
export function metadataOf(given: object): StreamMetadata {
  const { maxAge, maxCount, truncateBefore, custom } = { maxAge: undefined, maxCount: undefined, truncateBefore: undefined, custom: undefined, ...given }
  const before: unknown = truncateBefore
  const own: unknown = custom
  return {
    ...(typeof maxAge === 'number' ? { ageMaxMs: maxAge * 1_000 } : {}),
    ...(typeof maxCount === 'number' ? { countMax: maxCount } : {}),
    ...(typeof before === 'number' ? { truncateBefore: BigInt(before) } : {}),
    ...(typeof own === 'object' && own !== null ? { custom: { ...own } } : {}),
  }
}

/** Ours as the client's. Ages are whole seconds there, so they are rounded up. */
export function serverMetadata({ truncateBefore, countMax, ageMaxMs, custom }: StreamMetadata): Record<string, unknown> {
  return {
    ...(ageMaxMs === undefined ? {} : { maxAge: Math.max(1, Math.ceil(ageMaxMs / 1_000)) }),
    ...(countMax === undefined ? {} : { maxCount: countMax }),
    // The client takes numbers here; a stream of 2^53 events does not exist.
    ...(truncateBefore === undefined ? {} : { truncateBefore: Number(truncateBefore) }),
    ...(custom === undefined ? {} : { custom }),
  }
}
