import type { Beat, InstanceInfo, RosterRow } from './announcement.ts'
import type { AnnouncementKind } from './announcement-contracts.ts'
import type { Folded, Outcome } from './directory-events.ts'
import { lookAtLeases } from './directory-leases.ts'
import { countFlap, probe, settle, tell } from './directory-member.ts'
import { type DirectoryState, type Member, instanceOf } from './directory-state.ts'

/** What can happen to a view. */
export type DirectoryInput =
  /** This instance has announced itself. */
  | { readonly kind: 'said'; readonly beat: Beat; readonly info: InstanceInfo }
  /** An announcement came in; that of this instance too, which proves that its link works. */
  | { readonly kind: 'heard'; readonly about: AnnouncementKind; readonly beat: Beat; readonly info?: InstanceInfo | undefined }
  /** Another instance told what it knows. */
  | { readonly kind: 'reported'; readonly rows: readonly RosterRow[] }
  /** An instance was asked directly. */
  | { readonly kind: 'answered'; readonly beat: Beat; readonly info: InstanceInfo }
  /** It was asked and did not answer: the broker says that nobody is there, or nothing came in time. */
  | { readonly kind: 'unanswered'; readonly instance: string; readonly because: 'refused' | 'silent' }
  /** Time went by; whether the reader's own link is up. */
  | { readonly kind: 'tick'; readonly isLinked: boolean }

type Heard = Extract<DirectoryInput, { readonly kind: 'heard' }>

/**
 * Folds one input into a view: the whole of discovery's judgement, without clock, chance or network, so that the same function runs
 * in services, in tests on virtual time and in the simulator.
 *
 * It takes over `state` and changes it in place; give it to nobody else. The same inputs at the same times give the same outcome.
 *
 * @param nowMs the reader's monotonic time. No other clock counts.
 */
export function foldDirectory(state: DirectoryState, input: DirectoryInput, nowMs: number): Folded {
  const outcome: Outcome = { events: [], actions: [] }
  passTime(state, nowMs)
  switch (input.kind) {
    case 'tick': lookAtLeases(state, input.isLinked, outcome); break
    case 'said': say(state, outcome, input.beat, input.info); break
    case 'heard': hear(state, outcome, input); break
    case 'answered': takeAnswer(state, outcome, input.beat, input.info); break
    case 'unanswered': takeSilence(state, input.instance, input.because); break
    case 'reported': for (const row of input.rows) takeReport(state, outcome, row)
  }
  return outcome
}

/** Leases run only while the reader is awake and connected: whoever slept, or was cut off, has no right to accuse. */
function passTime(state: DirectoryState, nowMs: number): void {
  const elapsedMs = Math.max(0, nowMs - state.lastMs)
  state.lastMs = Math.max(state.lastMs, nowMs)
  if (state.isLinked) state.awakeMs += Math.min(elapsedMs, 2 * state.settings.tickMs)
}

function say(state: DirectoryState, outcome: Outcome, beat: Beat, info: InstanceInfo): void {
  const own = state.members.get(beat.instance)
  if (own === undefined || own.beat.process !== beat.process) {
    state.echoAtMs = state.awakeMs
    enter(state, outcome, { beat, info, heardAtMs: state.awakeMs })
  } else refresh(state, outcome, own, beat, info)
}

function hear(state: DirectoryState, outcome: Outcome, { about, beat, info }: Heard): void {
  state.heardAtMs = state.awakeMs
  if (beat.instance === state.self) {
    hearOfSelf(state, outcome, beat)
    return
  }
  const member = state.members.get(beat.instance)
  if (member === undefined || beat.incarnation > member.beat.incarnation) {
    // News without its details: the instance itself knows them.
    if (about === 'stopped') return
    if (info === undefined) outcome.actions.push({ kind: 'probe', instance: beat.instance, address: beat.address, withinMs: 0 })
    else enter(state, outcome, { beat, info, heardAtMs: state.awakeMs })
    return
  }
  if (beat.incarnation < member.beat.incarnation || beat.seq <= member.beat.seq || member.liveness === 'stopped') return
  if (about === 'stopped') leave(state, outcome, member, beat)
  // What was believed dead has to answer a question before it is believed alive: this may be old news.
  else if (member.liveness === 'down') probe(state, outcome, member)
  else refresh(state, outcome, member, beat, info)
}

/** Its own echo proves the link; another process under its name is an older or a foreign life. */
function hearOfSelf(state: DirectoryState, outcome: Outcome, beat: Beat): void {
  if (beat.process === state.selfProcess) state.echoAtMs = state.awakeMs
  else if (outlive(state, outcome, beat)) outcome.events.push({ kind: 'name-taken', instance: beat.instance, process: beat.process })
}

function outlive(state: DirectoryState, outcome: Outcome, beat: Beat): boolean {
  const own = state.members.get(state.self)
  if (own !== undefined && beat.incarnation < own.beat.incarnation) return false
  outcome.actions.push({ kind: 'outlive', incarnation: beat.incarnation + 1 })
  return true
}

/** What is known of an instance that begins to be there. */
interface Entrance {
  readonly beat: Beat
  readonly info: InstanceInfo
  readonly heardAtMs: number
}

function enter(state: DirectoryState, outcome: Outcome, entrance: Entrance): void {
  const former = state.members.get(entrance.beat.instance)
  const member = addMember(state, entrance, 'up')
  if (member === undefined) return
  if (former?.liveness === 'down') countFlap(state, member)
  tell(state, outcome, member, former === undefined ? 'it is new' : 'it has started again')
}

function addMember(state: DirectoryState, { beat, info, heardAtMs }: Entrance, liveness: Member['liveness']): Member | undefined {
  const former = state.members.get(beat.instance)
  if (former === undefined && state.members.size >= state.settings.instancesMax) return undefined
  const member: Member = {
    beat, info, infoRevision: beat.infoRevision, liveness, heardAtMs, sinceMs: state.awakeMs, probedAtMs: undefined, refusals: 0, silences: 0,
    flapsAtMs: former?.flapsAtMs ?? [], heldUntilMs: former?.heldUntilMs ?? 0,
  }
  state.members.set(beat.instance, member)
  return member
}

function leave(state: DirectoryState, outcome: Outcome, member: Member, beat: Beat): void {
  member.beat = beat
  settle(state, member, 'stopped')
  outcome.events.push({ kind: 'instance-stopped', instance: instanceOf(state, member), reason: 'it said goodbye' })
}

function refresh(state: DirectoryState, outcome: Outcome, member: Member, beat: Beat, info: InstanceInfo | undefined): void {
  const before = member.beat
  const wasSuspect = member.liveness === 'suspect'
  const isNews = info !== undefined && member.infoRevision !== beat.infoRevision
  member.beat = beat
  member.heardAtMs = state.awakeMs
  if (isNews) {
    member.info = info
    member.infoRevision = beat.infoRevision
  } else if (member.infoRevision !== beat.infoRevision) probe(state, outcome, member)
  if (wasSuspect) settle(state, member, 'up')
  if (wasSuspect) tell(state, outcome, member, 'it was heard again')
  else if (beat.phase !== before.phase) tell(state, outcome, member, 'it takes nothing new')
  else if (isNews || beat.health !== before.health) {
    outcome.events.push({ kind: 'instance-changed', instance: instanceOf(state, member), reason: beat.reasons[0] ?? 'it says so' })
  }
}

/** It answered itself, now: there is no better proof. */
function takeAnswer(state: DirectoryState, outcome: Outcome, beat: Beat, info: InstanceInfo): void {
  if (beat.instance === state.self) return
  const member = state.members.get(beat.instance)
  if (member === undefined || beat.incarnation > member.beat.incarnation) {
    enter(state, outcome, { beat, info, heardAtMs: state.awakeMs })
    return
  }
  if (beat.incarnation < member.beat.incarnation || member.liveness === 'stopped') return
  member.probedAtMs = undefined
  if (member.liveness !== 'down') {
    refresh(state, outcome, member, beat.seq >= member.beat.seq ? beat : member.beat, info)
    return
  }
  countFlap(state, member)
  Object.assign(member, { beat, info, infoRevision: beat.infoRevision, heardAtMs: state.awakeMs })
  settle(state, member, 'up')
  tell(state, outcome, member, 'it answered a question')
}

function takeSilence(state: DirectoryState, instance: string, because: 'refused' | 'silent'): void {
  const member = state.members.get(instance)
  if (member === undefined) return
  const askedAtMs = member.probedAtMs ?? state.awakeMs
  member.probedAtMs = undefined
  if (because === 'refused') member.refusals++
  // Where nothing at all came in meanwhile, it may be the reader that is cut off.
  else if (state.heardAtMs >= askedAtMs) member.silences++
}

/** What another one knows counts as much as what was heard itself, as old as it is. */
function takeReport(state: DirectoryState, outcome: Outcome, { beat, info, ageMs, isGone }: RosterRow): void {
  if (beat.instance === state.self) {
    if (beat.process !== state.selfProcess) outlive(state, outcome, beat)
    return
  }
  const entrance = { beat, info, heardAtMs: state.awakeMs - ageMs }
  const member = state.members.get(beat.instance)
  if (member === undefined || beat.incarnation > member.beat.incarnation) {
    // One that is gone is remembered, so that late news of it is known as such.
    if (isGone) addMember(state, entrance, 'down')
    else enter(state, outcome, entrance)
    return
  }
  if (isGone || beat.incarnation < member.beat.incarnation || member.liveness !== 'up' || beat.seq <= member.beat.seq) return
  member.heardAtMs = Math.max(member.heardAtMs, entrance.heardAtMs)
}
