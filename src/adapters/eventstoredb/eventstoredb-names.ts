/** Names of the streams that one namespace uses. All begin with `trunkline-<namespace>/`; the user's own never do. */
export class EsdbNames {
  readonly #prefix: string

  constructor(namespace: string) {
    this.#prefix = `trunkline-${namespace}`
  }

  /** Where messages of a type are published to. */
  published(kind: 'event' | 'command', type: string): string {
    return `${this.#prefix}/${kind}s/${type}`
  }

  /** A pattern for the server that fits the streams of these types and no others. */
  publishedPattern(kind: 'event' | 'command', types: readonly string[]): string {
    const literal = (text: string): string => text.replaceAll(/[^A-Za-z0-9/]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
    return `^${literal(this.#prefix)}/${kind}s/(?:${types.map(literal).join('|')})$`
  }

  /** Messages that a group gets once more, at once. */
  ready(kind: 'event' | 'command', group: string): string {
    return `${this.#prefix}/ready/${kind}/${group}`
  }

  /** Messages that a group gets once more, later. */
  delayed(kind: 'event' | 'command', group: string): string {
    return `${this.#prefix}/delayed/${kind}/${group}`
  }

  /** What a group is. */
  group(kind: 'event' | 'command', group: string): string {
    return `${this.#prefix}/groups/${kind}/${group}`
  }

  /** Who of a group does what. */
  roster(kind: 'event' | 'command', group: string): string {
    return `${this.#prefix}/roster/${kind}/${group}`
  }

  /** The hold list of a lane. */
  hold(kind: 'event' | 'command', group: string, lane: number): string {
    return `${this.#prefix}/hold/${kind}/${group}/${lane}`
  }

  /** What operators want of the lanes of a group. */
  wishes(kind: 'event' | 'command', group: string): string {
    return `${this.#prefix}/wishes/${kind}/${group}`
  }

  /** Attempts at one message that have begun. */
  begun(kind: 'event' | 'command', group: string, eventId: string): string {
    return `${this.#prefix}/begun/${kind}/${group}/${eventId}`
  }

  /** What a store keeps beside its streams. */
  get desk(): string {
    return `${this.#prefix}/desk`
  }

  /** A body that is kept beside its message. */
  body(id: string): string {
    return `${this.#prefix}/body/${id}`
  }

  /** Dead letters of all groups. */
  get dead(): string {
    return `${this.#prefix}/dead`
  }
}
