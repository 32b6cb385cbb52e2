import type { Outcome } from './directory-events.ts'
import { probe, settle, tell } from './directory-member.ts'
import { type DirectoryState, type Member, instanceOf, sizeOf } from './directory-state.ts'

/** Announcements of its own that a reader may miss before it doubts its link. */
const ECHO_BEATS = 2

/** Looks who has not been heard for too long, and asks before it believes. */
export function lookAtLeases(state: DirectoryState, isLinked: boolean, outcome: Outcome): void {
  const problem = linkProblem(state, isLinked)
  state.isLinked = problem === undefined
  if (problem !== undefined) {
    becomeStale(state, outcome, problem)
    return
  }
  const missing: Member[] = []
  for (const [instance, member] of state.members) {
    if (instance === state.self) continue
    if (member.liveness === 'up') suspectIfSilent(state, outcome, member)
    if (member.liveness === 'suspect' && isMissing(state, member)) missing.push(member)
    else if (member.liveness === 'suspect') probe(state, outcome, member)
    else if (member.liveness !== 'up' && isForgotten(state, member)) state.members.delete(instance)
  }
  believe(state, outcome, missing)
}

/** Who does not hear its own announcements would not hear those of others either, whatever the link says. */
function linkProblem(state: DirectoryState, isLinked: boolean): string | undefined {
  if (!isLinked) return 'the link is down'
  const own = state.members.get(state.self)
  const limitMs = (own?.beat.beatMs ?? 0) * ECHO_BEATS + state.settings.tickMs
  return own !== undefined && state.awakeMs - state.echoAtMs > limitMs ? 'its own announcements do not come back' : undefined
}

function suspectIfSilent(state: DirectoryState, outcome: Outcome, member: Member): void {
  const { suspectAfterBeats, tickMs } = state.settings
  if (member.heldUntilMs > 0 && member.heldUntilMs <= state.awakeMs) {
    member.heldUntilMs = 0
    tell(state, outcome, member, 'it has stayed')
  }
  const silentMs = state.awakeMs - member.heardAtMs
  if (silentMs <= suspectAfterBeats * member.beat.beatMs + tickMs / 2) return
  settle(state, member, 'suspect')
  outcome.events.push({ kind: 'instance-suspect', instance: instanceOf(state, member), reason: `it was not heard for ${Math.round(silentMs)} ms` })
}

/** Probes that the broker refuses are proof; those that nobody answers are proof only with a long silence, and the first may have been asked while the link was gone. */
function isMissing(state: DirectoryState, member: Member): boolean {
  const { refusalsMax, silencesMax, downAfterBeats } = state.settings
  if (member.refusals >= refusalsMax) return true
  return member.silences + member.refusals >= silencesMax && state.awakeMs - member.heardAtMs > downAfterBeats * member.beat.beatMs
}

function isForgotten(state: DirectoryState, member: Member): boolean {
  const { downAfterBeats, goneKeptFactor } = state.settings
  return state.awakeMs - member.sinceMs > downAfterBeats * member.beat.beatMs * goneKeptFactor
}

/** Where very many seem to go at once, it is rather the reader that lost them. */
function believe(state: DirectoryState, outcome: Outcome, missing: readonly Member[]): void {
  const { preserveMs } = state.settings
  if (!looksLikeOwnFault(state)) state.doubtsSinceMs = undefined
  else state.doubtsSinceMs ??= state.awakeMs
  if (state.doubtsSinceMs !== undefined && state.awakeMs - state.doubtsSinceMs <= preserveMs) {
    becomeStale(state, outcome, 'very many instances fell silent at once')
    return
  }
  becomeFresh(state, outcome)
  for (const member of missing) {
    const reason = member.refusals > 0 ? 'nobody is at its address' : `it was not heard for ${Math.round(state.awakeMs - member.heardAtMs)} ms and did not answer`
    settle(state, member, 'down')
    outcome.events.push({ kind: 'instance-down', instance: instanceOf(state, member), reason })
  }
}

function looksLikeOwnFault(state: DirectoryState): boolean {
  const { downAfterBeats, preserveShare, preserveCountMin } = state.settings
  let lost = 0
  let recentlyDown = 0
  for (const { liveness, sinceMs, beat } of state.members.values()) {
    if (liveness === 'suspect') lost++
    else if (liveness === 'down' && state.awakeMs - sinceMs < downAfterBeats * beat.beatMs) recentlyDown++
  }
  lost += recentlyDown
  return lost > preserveCountMin && lost / (sizeOf(state) + recentlyDown) > preserveShare
}

function becomeStale(state: DirectoryState, outcome: Outcome, reason: string): void {
  if (state.stale === reason) return
  state.stale = reason
  outcome.events.push({ kind: 'view-stale', reason })
}

function becomeFresh(state: DirectoryState, outcome: Outcome): void {
  if (state.stale === undefined) return
  state.stale = undefined
  outcome.events.push({ kind: 'view-fresh' })
}
