import type { SagaPart, SagaPartOutcome, SagaShape } from './definition.ts'
import type { SagaOutcome } from './saga-events.ts'

/** What can be drawn: a definition, or its name, version and shape as another process tells them. */
export interface Drawable {
  readonly name: string
  readonly version: number
  readonly shape: SagaShape
}

/** One thing in the drawing of a saga. JSON. */
export interface SagaNode {
  /** Of letters and digits; the same whenever the definition is drawn. */
  readonly id: string
  readonly kind: 'start' | 'step' | 'wait' | 'publish' | 'undo' | 'state' | 'end' | 'parked'
  readonly name: string
  /** Name of the group that it belongs to. */
  readonly group?: string | undefined
  readonly sends?: string | undefined
  readonly timeoutMs?: number | undefined
  readonly attemptsMax?: number | undefined
  /** Name of the saga that it runs. */
  readonly saga?: string | undefined
}

/** A way from one thing to another. JSON. */
export interface SagaEdge {
  readonly from: string
  readonly to: string
  /**
   * `on`: forwards; `back`: refused; `timeout`: its time is over; `skip`: left out, or passed over; `repeat`: once more; `cancel`: called off; `undone`: on to what is undone next; `given-up`: it could
   * not be undone.
   */
  readonly kind: 'start' | 'on' | 'back' | 'timeout' | 'skip' | 'repeat' | 'cancel' | 'undone' | 'given-up'
  /** Types of messages, or what it means; for people. */
  readonly label: string
}

/** Some nodes that run at the same time. JSON. */
export interface SagaGroup {
  readonly id: string
  readonly name: string
  /** How many of its members are needed. */
  readonly need: number
  readonly members: readonly string[]
}

/** A saga as nodes and edges, for a console to draw. JSON. */
export interface SagaGraph {
  readonly saga: string
  readonly version: number
  readonly form: 'steps' | 'process-manager'
  /** Time for the whole, in milliseconds. */
  readonly timeoutMs: number | undefined
  readonly nodes: readonly SagaNode[]
  readonly edges: readonly SagaEdge[]
  readonly groups: readonly SagaGroup[]
}

/** A saga as nodes and edges: what the texts for Mermaid are made from. */
export function sagaGraph({ name, version, shape }: Drawable): SagaGraph {
  const drawing = new Drawing()
  if (shape.form === 'steps') drawSteps(drawing, shape)
  else drawManager(drawing, shape)
  return { saga: name, version, form: shape.form, timeoutMs: shape.timeoutMs, nodes: drawing.nodes, edges: drawing.edges, groups: drawing.groups }
}

class Drawing {
  readonly nodes: SagaNode[] = []
  readonly edges: SagaEdge[] = []
  readonly groups: SagaGroup[] = []

  node(id: string, kind: SagaNode['kind'], name: string, more: Partial<SagaNode> = {}): string {
    if (!this.nodes.some((node) => node.id === id)) this.nodes.push({ id, kind, name, ...more })
    return id
  }

  edge(from: string, to: string, kind: SagaEdge['kind'], label: string): void {
    if (!this.edges.some((one) => one.from === from && one.to === to && one.kind === kind && one.label === label)) this.edges.push({ from, to, kind, label })
  }

  end(outcome: SagaOutcome | 'parked'): string {
    return this.node(outcome, outcome === 'parked' ? 'parked' : 'end', outcome)
  }
}

/** One place in the line, with its members drawn. */
interface Place {
  readonly part: SagaPart
  readonly members: readonly { readonly id: string; readonly part: SagaPart }[]
}

function drawSteps(drawing: Drawing, shape: SagaShape): void {
  const start = drawing.node('start', 'start', shape.starts.join(', '))
  const places = shape.parts.map((part, at) => drawPlace(drawing, part, at))
  for (const { id } of places[0]?.members ?? []) drawing.edge(start, id, 'start', shape.starts.join(', '))
  const completed = drawing.end('completed')
  for (const [at, { members }] of places.entries()) {
    const next = places[at + 1]?.members.map(({ id }) => id) ?? [completed]
    for (const { id, part } of members) for (const one of next) drawing.edge(id, one, 'on', onwards(part))
  }
  drawFailures(drawing, shape, places)
}

/** What leads on from a step. */
function onwards({ outcomes = [], timeout }: SagaPart): string {
  const types = typesThat(outcomes, 'on')
  return types === '' && timeout === 'completes' ? 'its time has come' : types
}

function drawPlace(drawing: Drawing, part: SagaPart, at: number): Place {
  const members = (part.members ?? [part]).map((one, index) => {
    const id = part.members === undefined ? `step${at + 1}` : `step${at + 1}x${index + 1}`
    const group = part.members === undefined ? undefined : part.name
    const kind = one.kind === 'wait' || one.kind === 'publish' ? one.kind : 'step'
    return { id: drawing.node(id, kind, one.name, { group, sends: one.sends, timeoutMs: one.timeoutMs, attemptsMax: one.attemptsMax, saga: one.saga }), part: one }
  })
  if (part.members !== undefined) drawing.groups.push({ id: `group${at + 1}`, name: part.name, need: part.need ?? part.members.length, members: members.map(({ id }) => id) })
  for (const { id, part: one } of members) {
    if (one.isRepeated === true) drawing.edge(id, id, 'repeat', 'once more')
  }
  return { part, members }
}

/** Where each step goes when it fails: back through what was done before it. */
function drawFailures(drawing: Drawing, shape: SagaShape, places: readonly Place[]): void {
  const undo = new Undo(drawing, shape)
  for (const [at, place] of places.entries()) {
    const next = places[at + 1]?.members.map(({ id }) => id) ?? [drawing.end('completed')]
    for (const { id, part } of place.members) {
      const refusals = typesThat(part.outcomes ?? [], 'back')
      // What was refused has not happened; what was not answered may have.
      const fails = (kind: 'back' | 'timeout', label: string, depth: number): void => {
        if (part.onFailure !== 'continue') return drawing.edge(id, undo.from(places, depth, 'compensated'), kind, label)
        for (const one of next) drawing.edge(id, one, 'skip', `${label}, passed over`)
      }
      if (refusals !== '') fails('back', refusals, place.part.members === undefined ? at - 1 : at)
      if (part.timeout === 'fails') fails('timeout', 'not answered in time', at)
      if (part.isConditional === true) for (const one of next) drawing.edge(id, one, 'skip', 'left out')
      if (shape.cancels.length > 0 && (part.outcomes?.length ?? 0) + (part.kind === 'wait' ? 1 : 0) > 0) drawing.edge(id, undo.from(places, at, 'cancelled'), 'cancel', shape.cancels.join(', '))
    }
  }
}

/** The way back: one chain for each outcome that it leads to. */
class Undo {
  readonly #drawing: Drawing
  readonly #isCancelled: boolean

  constructor(drawing: Drawing, shape: SagaShape) {
    this.#drawing = drawing
    this.#isCancelled = shape.cancels.length > 0
  }

  /** The first thing that is undone, beginning at a place and going back; the end, where nothing is. */
  from(places: readonly Place[], at: number, outcome: 'compensated' | 'cancelled'): string {
    if (at < 0) return this.#drawing.end(outcome)
    const members = places[at]?.members.filter(({ part }) => part.compensation !== undefined) ?? []
    if (members.length === 0) return this.from(places, at - 1, outcome)
    const then = this.from(places, at - 1, outcome)
    // Members of a group are undone one after the other, the latest first; the drawing takes them from the last on.
    return members.reduce((after, member) => this.#undo(member, after), then)
  }

  #undo({ id, part }: Place['members'][number], after: string): string {
    const { compensation } = part
    if (compensation === undefined) return after
    // Both ways back go through the same compensation, so that it is drawn once where there is one way, and once for each where there are two.
    const suffix = this.#isCancelled && this.#leadsTo(after) === 'cancelled' ? 'c' : ''
    const undo = this.#drawing.node(`undo${id}${suffix}`, 'undo', `undo ${part.name}`, { sends: compensation.sends, timeoutMs: compensation.timeoutMs })
    this.#drawing.edge(undo, after, 'undone', typesThat(compensation.outcomes, 'on'))
    const canFail = compensation.timeoutMs !== undefined || compensation.outcomes.some(({ leads }) => leads === 'back')
    if (canFail) this.#drawing.edge(undo, this.#drawing.end(compensation.otherwise === 'park' ? 'parked' : 'failed'), 'given-up', compensation.otherwise === 'park' ? 'failed for the last time: an operator decides' : 'given up')
    return undo
  }

  #leadsTo(id: string): string {
    let at = id
    for (let next = this.#next(at); next !== undefined; next = this.#next(at)) at = next
    return at
  }

  #next(id: string): string | undefined {
    return this.#drawing.edges.find(({ from, kind }) => from === id && kind === 'undone')?.to
  }
}

/** A process manager says what it takes, sends and sets; the order is known to its functions alone. */
function drawManager(drawing: Drawing, { starts, inputs, outputs, timers, waits }: SagaShape): void {
  const start = drawing.node('start', 'start', starts.join(', '))
  const running = drawing.node('running', 'state', outputs.length === 0 ? 'decides' : `decides; sends ${outputs.join(', ')}`)
  drawing.edge(start, running, 'start', starts.join(', '))
  const others = inputs.filter((type) => !starts.includes(type))
  if (others.length > 0) drawing.edge(running, running, 'repeat', others.join(', '))
  for (const timer of timers) drawing.edge(running, running, 'timeout', `alarm ${timer}`)
  drawing.edge(running, drawing.node('ended', 'end', 'ended'), 'on', waits === 'forever' ? 'it ends, or waits for ever' : 'it ends')
}

function typesThat(outcomes: readonly SagaPartOutcome[], leads: SagaPartOutcome['leads']): string {
  return [...new Set(outcomes.filter((outcome) => outcome.leads === leads).map(({ type }) => type))].join(', ')
}
