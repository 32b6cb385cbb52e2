import { ROSTER_PAGE_MAX, type RosterPage } from './announcement-contracts.ts'
import type { RosterRow } from './announcement.ts'
import { type DirectoryState, sizeOf } from './directory-state.ts'

/** Bytes of JSON on one page, with room below the largest body. */
const PAGE_BYTES_MAX = 120_000

/** One page of what a view knows, in the order of instance names, so that another instance can answer for the next page. */
export function rosterPage(state: DirectoryState, services: readonly string[], after: string | undefined, limit: number): RosterPage {
  const size = sizeOf(state)
  if (limit === 0) return { rows: [], size }
  const rows: RosterRow[] = []
  let bytes = 0
  const wanted = [...state.members.values()]
    .filter(({ beat }) => (services.length === 0 || services.includes(beat.service)) && (after === undefined || beat.instance > after))
    .toSorted((left, right) => (left.beat.instance < right.beat.instance ? -1 : 1))
  for (const { beat, info, liveness, heardAtMs } of wanted) {
    const ageMs = beat.instance === state.self ? 0 : Math.max(0, state.awakeMs - heardAtMs)
    const row = { beat, info, ageMs, isGone: liveness === 'down' || liveness === 'stopped' }
    bytes += JSON.stringify(row).length
    if (rows.length > 0 && (rows.length >= Math.min(limit, ROSTER_PAGE_MAX) || bytes > PAGE_BYTES_MAX)) return { rows, next: rows.at(-1)?.beat.instance, size }
    rows.push(row)
  }
  return { rows, size }
}
