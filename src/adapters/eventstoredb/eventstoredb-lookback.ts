import { downOf, type EsdbDesk } from './eventstoredb-desk.ts'
import { COURIER, type DeskState, listOf, type Op } from './eventstoredb-desk-state.ts'
import { markOf, type EsdbEvent } from './eventstoredb-event.ts'
import type { EsdbLink } from './eventstoredb-link.ts'

// A unit whose process died right after its append is known by nothing but its events. Who appends to the same stream next looks back first,
// so that nothing of that unit is done again, and so that what it published stands before what comes now.

/** Events of a stream that are looked at: the redelivery horizon of a unit that died before it was known. */
const HORIZON = 256
/** Mostly the last one tells already. */
const FIRST_PAGE = 4
/** Two servers of a cluster may be this far apart in their time. */
const CLOCKS_MS = 60_000

/** What rides with an event. */
export function unitIn(event: EsdbEvent): readonly Op[] {
  const text = markOf(event, 'unit')
  if (text === undefined) return []
  try {
    return listOf(JSON.parse(text)).filter((op): op is Op => Array.isArray(op))
  } catch {
    return []
  }
}

/**
 * Events at the end of a stream whose units the desk has not heard of, oldest first. The desk has to be refreshed.
 *
 * A unit is brought to the desk after all units before it in its stream, so that the first one that is known ends the search.
 *
 * @throws `store.down`.
 */
export async function unheardIn(link: EsdbLink, desk: EsdbDesk, stream: string): Promise<readonly EsdbEvent[]> {
  const unheard: EsdbEvent[] = []
  let from: bigint | 'end' = 'end'
  let left = HORIZON
  for (let count = FIRST_PAGE; left > 0; count = left) {
    const fromRevision = from
    const result = await link.read((client) => client.readStream(stream, { ...link.callOptions, direction: 'backwards', fromRevision, maxCount: count }))
    if (result.kind === 'failed') {
      if (result.failure.kind === 'stream-missing') return []
      throw downOf(result.failure)
    }
    const { events } = result.value
    for (const event of events) {
      if (isHeardOf(event, desk.state)) return unheard.toReversed()
      if (unitIn(event).length > 0) unheard.push(event)
    }
    left -= events.length
    const last = events.at(-1)
    if (last === undefined || last.revision === 0n) break
    from = last.revision - 1n
  }
  return unheard.toReversed()
}

/** True where the desk knows this event's unit and all before it: it was brought there, or the courier has passed it. */
function isHeardOf({ id, position, storedAtMs }: EsdbEvent, { posted, checkpoints, passedAtMs }: DeskState): boolean {
  if (posted.has(id)) return true
  // Not every server tells positions in a stream; those that do not give the highest number there is.
  return (position >= 0n && position <= (checkpoints.get(COURIER) ?? -1n)) || storedAtMs < passedAtMs - CLOCKS_MS
}
