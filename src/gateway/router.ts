import { TrunklineError } from '../core/errors.ts'
import { type PathPattern, matched, shapeOf } from './path-pattern.ts'

/** What a router needs to know of a route. */
export interface Routable {
  readonly method: string
  readonly pattern: PathPattern
}

/** A route that a request goes to. */
export interface Match<R extends Routable> {
  readonly route: R
  /** The parameters of the path, decoded. */
  readonly params: ReadonlyMap<string, string>
}

/** Finds the route of a request. Literal segments win over parameters. */
export class Router<R extends Routable> {
  /** By number of segments, the most literal first. */
  readonly #byLength = new Map<number, R[]>()

  /** @throws `gateway.route_invalid` for two routes that take the same requests. */
  constructor(routes: readonly R[]) {
    const seen = new Map<string, string>()
    for (const route of routes) {
      const { method, pattern } = route
      const shape = `${method} ${shapeOf(pattern)}`
      const other = seen.get(shape)
      if (other !== undefined) throw new TrunklineError('gateway.route_invalid', { route: `${method} ${pattern.text}`, problem: `${method} ${other} takes the same requests` })
      seen.set(shape, pattern.text)
      const same = this.#byLength.get(pattern.segments.length) ?? []
      same.push(route)
      this.#byLength.set(pattern.segments.length, same)
    }
    for (const same of this.#byLength.values()) same.sort((left, right) => rankOf(left.pattern) < rankOf(right.pattern) ? -1 : 1)
  }

  /**
   * The route of a request. HEAD goes to GET.
   *
   * @throws `gateway.route_missing`, `gateway.method_refused`, `gateway.request_malformed` for a path that is badly encoded.
   */
  find(method: string, path: string): Match<R> {
    const parts = path === '/' ? [] : path.slice(1).split('/')
    const wanted = method === 'HEAD' ? 'GET' : method
    const allowed = new Set<string>()
    for (const route of this.#byLength.get(parts.length) ?? []) {
      const params = matched(route.pattern, parts)
      if (params === undefined) continue
      if (route.method === wanted) return { route, params: new Map([...params].map(([name, text]) => [name, decoded(text)])) }
      allowed.add(route.method)
    }
    if (allowed.size === 0) throw new TrunklineError('gateway.route_missing', { path: path.slice(0, 200) })
    throw new TrunklineError('gateway.method_refused', { method: method.slice(0, 20), path: path.slice(0, 200), allowed: allowedMethods(allowed) })
  }

  /** The methods that a path takes; none where there is no such path. */
  methodsOf(path: string): readonly string[] {
    const parts = path === '/' ? [] : path.slice(1).split('/')
    const routes = (this.#byLength.get(parts.length) ?? []).filter(({ pattern }) => matched(pattern, parts) !== undefined)
    return allowedMethods(new Set(routes.map(({ method }) => method)))
  }
}

function allowedMethods(methods: ReadonlySet<string>): readonly string[] {
  return [...methods, ...(methods.has('GET') ? ['HEAD'] : [])].toSorted()
}

/** Sorts literals before parameters, segment by segment. */
function rankOf({ segments }: PathPattern): string {
  return segments.map(({ literal }) => (literal === undefined ? '1' : '0')).join('')
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new TrunklineError('gateway.request_malformed', { part: 'path', problem: 'it is not percent-encoded UTF-8' })
  }
}
