import type { TrunklineError } from '../core/errors.ts'

/** A path with parameters, ready to be matched. */
export interface PathPattern {
  /** As it was written: `/orders/{orderId}`. */
  readonly text: string
  /** A literal segment, or the name of a parameter. */
  readonly segments: readonly { readonly literal: string | undefined; readonly name: string }[]
  readonly names: readonly string[]
}

const LITERAL = /^[A-Za-z0-9._~-]+$/
const PARAMETER = /^\{([A-Za-z_][A-Za-z0-9_]*)\}$/

/** Reads `/orders/{orderId}`. @throws what `refuse` makes of a problem. */
export function pathPattern(text: string, refuse: (problem: string) => TrunklineError): PathPattern {
  if (!text.startsWith('/')) throw refuse(`the path ${text} does not begin with a slash`)
  const segments = text === '/' ? [] : text.slice(1).split('/').map((part) => segmentOf(part, refuse))
  const names = segments.filter(({ literal }) => literal === undefined).map(({ name }) => name)
  if (new Set(names).size !== names.length) throw refuse(`the path ${text} has a parameter twice`)
  return { text, segments, names }
}

function segmentOf(part: string, refuse: (problem: string) => TrunklineError): PathPattern['segments'][number] {
  const name = PARAMETER.exec(part)?.[1]
  if (name !== undefined) return { literal: undefined, name }
  if (part !== '.' && part !== '..' && LITERAL.test(part)) return { literal: part, name: '' }
  throw refuse(`the path has the segment ${JSON.stringify(part)}, which is neither letters, digits and .-_~ nor one {name}`)
}

/** The pattern without the names of its parameters: two routes with the same shape and method could not be told apart. */
export function shapeOf({ segments }: PathPattern): string {
  return segments.map(({ literal }) => literal ?? '{}').join('/')
}

/** The parameters of a path that fits, still percent-encoded; undefined for one that does not. */
export function matched(pattern: PathPattern, parts: readonly string[]): ReadonlyMap<string, string> | undefined {
  if (parts.length !== pattern.segments.length) return undefined
  const found = new Map<string, string>()
  for (const [at, { literal, name }] of pattern.segments.entries()) {
    const part = parts[at] ?? ''
    if (literal === undefined ? part === '' : part !== literal) return undefined
    if (literal === undefined) found.set(name, part)
  }
  return found
}
