import type { SagaPart, SagaShape } from './definition.ts'
import { type Drawable, type SagaGraph, type SagaNode, sagaGraph } from './saga-graph.ts'

/** Longest text in a diagram: what is longer is cut. */
const TEXT_MAX = 200

/**
 * A saga as the text of a Mermaid `stateDiagram-v2`: its steps with what they send, the ways forwards, and the ways back through what is undone. Whatever names
 * and types say, the text stays a diagram.
 */
export function stateDiagram(saga: Drawable): string {
  const graph = sagaGraph(saga)
  const inGroups = new Set(graph.groups.flatMap(({ members }) => members))
  const lines = [
    'stateDiagram-v2',
    `  %% ${commentText(`${graph.saga}, version ${graph.version}`)}`,
    ...graph.nodes.filter(({ id, kind }) => kind !== 'start' && !inGroups.has(id)).map((node) => `  ${stateLine(node)}`),
    ...graph.groups.flatMap((group) => [
      `  state "${diagramText(`${group.name}: ${needText(group.need, group.members.length)}`)}" as ${group.id} {`,
      ...graph.nodes.filter(({ id }) => group.members.includes(id)).map((node) => `    ${stateLine(node)}`),
      '  }',
    ]),
    ...graph.edges.map(({ from, to, label }) => `  ${from === 'start' ? '[*]' : from} --> ${to}${label === '' ? '' : ` : ${diagramText(label)}`}`),
    ...endsOf(graph).map((id) => `  ${id} --> [*]`),
  ]
  return `${lines.join('\n')}\n`
}

/**
 * A saga as the text of a Mermaid `sequenceDiagram`: who sends what to whom, with the answers, refusals and time limits of each step. Those who take part are
 * told from the types of the messages: `stock.reserve` goes to `stock`.
 */
export function sequenceDiagram({ name, version, shape }: Drawable): string {
  const talk = new Talk(name, shape)
  const lines = [
    'sequenceDiagram',
    `  %% ${commentText(`${name}, version ${version}`)}`,
    ...talk.participants(),
    ...shape.starts.map((type) => `  ${talk.of(type)}->>saga: ${said(type)}`),
    ...(shape.form === 'steps' ? shape.parts.flatMap((part) => talk.part(part)) : talk.manager()),
    ...(shape.cancels.length === 0 ? [] : [`  Note over saga: called off by ${said(shape.cancels.join(', '))}`]),
  ]
  return `${lines.join('\n')}\n`
}

/**
 * A text that can stand anywhere in a diagram: everything but letters, digits, blanks and a few marks becomes a numbered entity of Mermaid's, and what
 * controls the layout becomes a blank.
 */
export function diagramText(text: string): string {
  const flat = text.replaceAll(/[\p{C}\p{Z}]+/gu, ' ').trim()
  // Never through the middle of a character.
  const cut = flat.length > TEXT_MAX ? `${flat.slice(0, TEXT_MAX - 1).replace(/[\uD800-\uDBFF]$/, '')}…` : flat
  return cut.replaceAll(/(?<![\p{L}\p{N}])-|-(?![\p{L}\p{N}])|[^\p{L}\p{N} .,_…-]/gu, (mark) => `#${mark.codePointAt(0)};`)
}

function commentText(text: string): string {
  return text.replaceAll(/[^\p{L}\p{N} .,_-]/gu, ' ')
}

function stateLine(node: SagaNode): string {
  return `state "${diagramText(nodeText(node))}" as ${node.id}`
}

function nodeText({ kind, name, sends, saga, timeoutMs, attemptsMax }: SagaNode): string {
  const what = saga !== undefined ? `runs ${saga}` : sends === undefined ? '' : `${kind === 'publish' ? 'publishes' : 'sends'} ${sends}`
  const limits = [timeoutMs === undefined ? '' : `within ${timeText(timeoutMs)}`, attemptsMax === undefined ? '' : `${attemptsMax} tries`]
  return [name, what, ...limits].filter((part) => part !== '').join(', ')
}

function endsOf({ nodes }: SagaGraph): readonly string[] {
  return nodes.filter(({ kind }) => kind === 'end').map(({ id }) => id)
}

function needText(need: number, of: number): string {
  return need === of ? 'all' : need === 1 ? 'any' : `${need} of ${of}`
}

/** A text that a line of a sequence diagram cannot do without. */
function said(text: string): string {
  const escaped = diagramText(text)
  return escaped === '' ? '…' : escaped
}

/** What is said in a sequence diagram. */
class Talk {
  readonly #name: string
  /** Id of each context: `p1`, `p2` and so on. */
  readonly #ids: ReadonlyMap<string, string>
  readonly #shape: SagaShape

  constructor(name: string, shape: SagaShape) {
    this.#name = name
    this.#shape = shape
    const sagas = steps(shape).flatMap(({ saga }) => saga ?? [])
    const types = [...shape.starts, ...shape.outputs, ...shape.inputs].filter((type) => !type.startsWith('saga-ends.'))
    const contexts = new Set([...types.map(contextOf), ...sagas.map((saga) => `saga ${saga}`)])
    this.#ids = new Map([...contexts].map((context, at) => [context, `p${at + 1}`]))
  }

  participants(): readonly string[] {
    const [first, ...others] = [...this.#ids].map(([context, id]) => `  participant ${id} as ${said(context)}`)
    return [...(first === undefined ? [] : [first]), `  participant saga as ${said(this.#name)}`, ...others]
  }

  /** Who sends or takes a type. */
  of(type: string): string {
    return this.#ids.get(contextOf(type)) ?? 'saga'
  }

  part(part: SagaPart): readonly string[] {
    if (part.members !== undefined) {
      const [first = [], ...others] = part.members.map((one) => this.#step(one))
      const label = said(`${part.name}, ${needText(part.need ?? part.members.length, part.members.length)}`)
      return [`  par ${label}`, ...first, ...others.flatMap((lines) => [`  and ${label}`, ...lines]), '  end']
    }
    const lines = this.#step(part)
    if (part.isRepeated === true) return [`  loop ${said(`${part.name}, repeated`)}`, ...lines, '  end']
    return part.isConditional === true ? [`  opt ${said(`${part.name}, where it is wanted`)}`, ...lines, '  end'] : lines
  }

  manager(): readonly string[] {
    const { inputs, starts, outputs, timers } = this.#shape
    const comes = inputs.filter((type) => !starts.includes(type)).map((type) => `  ${this.of(type)}->>saga: ${said(type)}`)
    const goes = outputs.map((type) => `  saga->>${this.of(type)}: ${said(type)}`)
    const alarms = timers.map((timer) => `  saga-->>saga: ${said(`alarm ${timer}`)}`)
    return ['  loop until it ends, in any order', ...comes, ...alarms, ...goes, '  Note over saga: it decides', '  end']
  }

  #step(part: SagaPart): readonly string[] {
    const { name, sends, saga, outcomes = [], timeout, timeoutMs, compensation } = part
    const who = saga === undefined ? undefined : this.#ids.get(`saga ${saga}`)
    const to = who ?? (sends === undefined ? 'saga' : this.of(sends))
    const asked = sends === undefined ? [] : [`  saga->>${to}: ${said(sends)}`]
    const answers = outcomes.map(({ type, leads }) => [`${leads === 'on' ? 'goes on' : 'is refused'}`, `  ${who ?? this.of(type)}->>saga: ${said(type)}`] as const)
    const late = timeout === undefined ? [] : [[timeout === 'fails' ? 'is not answered in time' : 'its time has come', `  saga-->>saga: ${said(timeoutMs === undefined ? 'alarm' : `alarm after ${timeText(timeoutMs)}`)}`] as const]
    const cases = [...answers, ...late].map(([what, line], at) => [`  ${at === 0 ? 'alt' : 'else'} ${said(`${name} ${what}`)}`, line])
    const undone = compensation === undefined ? [] : [`  Note over saga: ${said(`${name} is undone by ${compensation.sends}`)}`]
    const body = cases.length > 1 ? [...cases.flat(), '  end'] : cases.flatMap(([, line]) => line ?? [])
    return [...asked, ...body, ...undone]
  }
}

function steps({ parts }: SagaShape): readonly SagaPart[] {
  return parts.flatMap((part) => part.members ?? [part])
}

function contextOf(type: string): string {
  const at = type.indexOf('.')
  return at <= 0 ? 'others' : type.slice(0, at)
}

const UNITS: readonly (readonly [string, number])[] = [['d', 86_400_000], ['h', 3_600_000], ['min', 60_000], ['s', 1_000]]

function timeText(ms: number): string {
  const fitting = UNITS.find(([, unitMs]) => ms >= unitMs && ms % unitMs === 0)
  return fitting === undefined ? `${ms} ms` : `${ms / fitting[1]} ${fitting[0]}`
}
