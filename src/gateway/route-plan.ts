import { type ContractTypes, type DefinedContract, defined } from '../contract/contract.ts'
import { splitType } from '../contract/names.ts'
import { TrunklineError } from '../core/errors.ts'
import { wholeInRange } from '../bus/retry-policy.ts'
import { type JsonSchema, fieldsOf, isFlat, requiredFields, textKinds } from './json-shape.ts'
import { type PathPattern, pathPattern } from './path-pattern.ts'
import type { ErasedRouteOptions, HttpMethod, Route } from './route.ts'

/** A route worked out: everything that a request needs to know. */
export interface CallPlan {
  readonly kind: 'call'
  readonly method: HttpMethod
  readonly pattern: PathPattern
  /** What callers see. */
  readonly contract: DefinedContract<string, ContractTypes>
  /** What the bus is given. */
  readonly target: DefinedContract<string, ContractTypes>
  readonly options: ErasedRouteOptions
  readonly answer: 'reply' | 'accepted'
  readonly successStatus: number
  readonly timeoutMs: number | undefined
  readonly schema: JsonSchema | undefined
  readonly fields: ReadonlyMap<string, JsonSchema> | undefined
  readonly needsMatch: boolean
}

const METHODS: readonly string[] = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']
const ANSWERED = 200
const ACCEPTED = 202
const NO_CONTENT = 204

/** Works a route out. @throws `gateway.route_invalid`, `core.option_invalid`. */
export function callPlan(route: Route, basePath: string): CallPlan {
  const { options } = route
  const contract = defined(route.contract)
  const target = defined(route.target)
  const refuse = (problem: string): TrunklineError => new TrunklineError('gateway.route_invalid', { route: options.path ?? contract.type, problem })
  const schema = contract.jsonSchema
  const fields = fieldsOf(schema)
  const method = methodOf(contract, options, schema, refuse)
  const pattern = pathPattern(`${basePath}${options.path ?? derivedPath(contract.type)}`, refuse)
  checkVersions(contract, target, refuse)
  checkStatuses(target, options, refuse)
  const ifMatch = options.ifMatch
  for (const name of [...pattern.names, ...(ifMatch === undefined ? [] : [ifMatch])]) checkField(name, schema, fields, refuse)
  const answer = answerOf(contract, target, options, refuse)
  if (options.balance !== undefined && answer === 'accepted') throw refuse('what is only stored is not balanced')
  if (options.etag !== undefined && (answer === 'accepted' || !contract.hasReply)) throw refuse('an ETag needs an answer')
  return {
    kind: 'call', method, pattern, contract, target, options, answer, schema, fields,
    successStatus: options.successStatus ?? (answer === 'accepted' ? ACCEPTED : contract.hasReply ? ANSWERED : NO_CONTENT),
    timeoutMs: options.timeoutMs === undefined ? undefined : wholeInRange('timeoutMs', options.timeoutMs, 1, 86_400_000),
    needsMatch: ifMatch !== undefined && requiredFields(schema).includes(ifMatch),
  }
}

type Refuse = (problem: string) => TrunklineError

function derivedPath(type: string): string {
  const { context, name } = splitType(type)
  return `/${context}/${name}`
}

function methodOf(contract: DefinedContract<string, ContractTypes>, { method }: ErasedRouteOptions, schema: JsonSchema | undefined, refuse: Refuse): HttpMethod {
  const isQuery = contract.kind === 'query'
  if (method === undefined) return isQuery && isFlat(schema) ? 'GET' : 'POST'
  if (!METHODS.includes(method)) throw refuse(`the method ${method} is none of ${METHODS.join(', ')}`)
  if (isQuery && method !== 'GET' && method !== 'POST') throw refuse('a query is asked with GET or POST')
  if (!isQuery && method === 'GET') throw refuse('a command changes something, which GET must not do')
  if (method === 'GET' && schema !== undefined && !isFlat(schema)) throw refuse('its request has fields that do not fit into a query string; use POST')
  return method
}

function checkVersions(contract: DefinedContract<string, ContractTypes>, target: DefinedContract<string, ContractTypes>, refuse: Refuse): void {
  if (contract === target) return
  if (contract.type !== target.type || contract.kind !== target.kind) throw refuse(`it is served as ${target.type}, which is another contract`)
  if (contract.version >= target.version) throw refuse(`version ${contract.version} cannot be lifted to version ${target.version}`)
}

function checkStatuses(target: DefinedContract<string, ContractTypes>, { errors = {}, successStatus }: ErasedRouteOptions, refuse: Refuse): void {
  for (const [name, status] of Object.entries(errors)) {
    if (!target.declaresError(name)) throw refuse(`${target.type} declares no error ${JSON.stringify(name)}`)
    if (!Number.isInteger(status) || Number(status) < 400 || Number(status) > 599) throw refuse(`the error ${name} has the status ${String(status)}, which is none from 400 to 599`)
  }
  if (successStatus !== undefined && !(Number.isInteger(successStatus) && successStatus >= 200 && successStatus <= 299)) throw refuse(`${successStatus} is no status of success`)
}

function checkField(name: string, schema: JsonSchema | undefined, fields: ReadonlyMap<string, JsonSchema> | undefined, refuse: Refuse): void {
  if (schema === undefined) return
  const field = fields?.get(name)
  if (field === undefined) throw refuse(`the data has no field ${JSON.stringify(name)}`)
  if (textKinds(field, schema) === undefined) throw refuse(`the field ${JSON.stringify(name)} is not a text, a number or a boolean`)
}

function answerOf(contract: DefinedContract<string, ContractTypes>, target: DefinedContract<string, ContractTypes>, options: ErasedRouteOptions, refuse: Refuse): 'reply' | 'accepted' {
  if (contract.kind === 'query') {
    if (options.answer === 'accepted') throw refuse('a query is always answered')
    return 'reply'
  }
  return options.answer ?? (target.hasReply || target.errorNames.length > 0 ? 'reply' : 'accepted')
}
