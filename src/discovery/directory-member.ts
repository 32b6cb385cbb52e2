import type { Outcome } from './directory-events.ts'
import { type DirectoryState, type Member, instanceOf } from './directory-state.ts'

/** Gives a member another standing, and forgets what was found out under the former one. */
export function settle(state: DirectoryState, member: Member, liveness: Member['liveness']): void {
  member.liveness = liveness
  member.sinceMs = state.awakeMs
  member.probedAtMs = undefined
  member.refusals = 0
  member.silences = 0
}

/** Tells how a present member now stands. */
export function tell(state: DirectoryState, outcome: Outcome, member: Member, reason: string): void {
  const instance = instanceOf(state, member)
  const kind = instance.state === 'draining' ? 'instance-draining' : instance.state === 'held' ? 'instance-held' : 'instance-up'
  outcome.events.push({ kind, instance, reason: kind === 'instance-held' ? 'it came and went too often' : reason })
}

/** Milliseconds for each known instance by which probes are spread out. */
const SPREAD_MS = 5

/** Asks for a probe, unless one is on its way. */
export function probe(state: DirectoryState, outcome: Outcome, member: Member): void {
  if (member.probedAtMs !== undefined) return
  member.probedAtMs = state.awakeMs
  // Spread out, so that the first answer, which all hear, spares the others their question.
  const withinMs = Math.min(member.beat.beatMs / 4, state.members.size * SPREAD_MS)
  outcome.actions.push({ kind: 'probe', instance: member.beat.instance, address: member.beat.address, withinMs })
}

/** Counts a return from the dead, and holds back whoever returns too often. */
export function countFlap(state: DirectoryState, member: Member): void {
  const { flapWindowMs, flapsMax, holdDownMs } = state.settings
  member.flapsAtMs = [...member.flapsAtMs.filter((atMs) => atMs > state.awakeMs - flapWindowMs), state.awakeMs]
  if (member.flapsAtMs.length >= flapsMax) member.heldUntilMs = state.awakeMs + holdDownMs
}
