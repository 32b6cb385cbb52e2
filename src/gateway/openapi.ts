import { splitType } from '../contract/names.ts'
import { type JsonSchema, isRecord, requiredFields } from './json-shape.ts'
import { SchemaShelf, embedded, problemSchema, withoutFields } from './openapi-schemas.ts'
import { EVENT_STREAM_TYPE } from './event-text.ts'
import { PROBLEM_TYPE } from './problem.ts'
import type { CallPlan } from './route-plan.ts'
import type { StreamPlan } from './stream-route.ts'

/** What the OpenAPI document says of itself. */
export interface DocumentOptions {
  readonly title: string
  /** Version of the API, not of OpenAPI. */
  readonly version: string
  readonly description?: string
  /** Where the API is, such as `https://api.example.com`. Default: where the document came from. */
  readonly servers?: readonly string[]
  /** Where the gateway serves the document. Default `/openapi.json`. */
  readonly path?: string
}

/** What a document is made of. */
export interface DocumentParts {
  readonly options: DocumentOptions
  readonly plans: readonly (CallPlan | StreamPlan)[]
  readonly problemBase: string
  /** What WWW-Authenticate says, where callers have to say who they are. */
  readonly challenge: string | undefined
}

type Json = Readonly<Record<string, unknown>>

const SCHEME = 'caller'
const DECLARED = 422

/** The OpenAPI 3.1 document of a gateway: a JSON value. */
export function openApiDocument({ options, plans, problemBase, challenge }: DocumentParts): Json {
  const shelf = new SchemaShelf()
  const problem = shelf.put('problem', problemSchema)
  const paths: Record<string, Record<string, unknown>> = {}
  const ids = new Map<string, number>()
  for (const plan of plans) {
    const item = (paths[plan.pattern.text] ??= {})
    if (plan.kind === 'stream') item['get'] = streamOperation(plan, { problem, problemBase, challenge })
    else item[plan.method.toLowerCase()] = { operationId: uniqueId(plan, ids), ...operation(plan, shelf, { problem, problemBase, challenge }) }
  }
  const { title, version, description, servers } = options
  return {
    openapi: '3.1.0',
    info: { title, version, ...(description === undefined ? {} : { description }) },
    ...(servers === undefined ? {} : { servers: servers.map((url) => ({ url })) }),
    paths,
    components: { schemas: shelf.all(), ...(challenge === undefined ? {} : { securitySchemes: { [SCHEME]: securityScheme(challenge) } }) },
  }
}

function securityScheme(challenge: string): Json {
  const scheme = (challenge.split(' ', 1)[0] ?? '').toLowerCase()
  return { type: 'http', scheme: scheme === '' ? 'bearer' : scheme }
}

interface Surroundings {
  readonly problem: JsonSchema
  readonly problemBase: string
  readonly challenge: string | undefined
}

/** OpenAPI has no words for what comes inside a stream; the description says it. */
function streamOperation({ contracts, pattern, options }: StreamPlan, { problem, challenge }: Surroundings): Json {
  const { summary } = options
  const types = contracts.map(({ type }) => type).join(', ')
  const resumed = options.from === undefined ? 'What was published while the caller was away is gone.' : 'It is resumed by Last-Event-ID.'
  const inPath = pattern.names.map((name) => ({ name, in: 'path', required: true, schema: { type: 'string' } }))
  const lastId = { name: 'Last-Event-ID', in: 'header', required: false, schema: { type: 'string' } }
  return {
    operationId: `follow ${pattern.text}`,
    ...(summary === undefined ? {} : { summary }),
    description: `Server-sent events: ${types}. ${resumed}`,
    parameters: [...inPath, ...(options.from === undefined ? [] : [lastId])],
    responses: { 200: { description: 'Events as they happen.', content: { [EVENT_STREAM_TYPE]: { schema: { type: 'string' } } } }, default: problemResponse([problem]) },
    ...(challenge === undefined ? {} : { security: options.isPublic === true ? [] : [{ [SCHEME]: [] }] }),
  }
}

/** The id of an operation: one contract may be served at several paths. */
function uniqueId({ contract, options }: CallPlan, ids: Map<string, number>): string {
  const id = options.operationId ?? `${contract.type}.v${contract.version}`
  const count = (ids.get(id) ?? 0) + 1
  ids.set(id, count)
  return count === 1 ? id : `${id}.${count}`
}

function operation(plan: CallPlan, shelf: SchemaShelf, around: Surroundings): Json {
  const { contract, options } = plan
  const name = `${contract.type}.v${contract.version}`
  const { summary, tags = [splitType(contract.type).context] } = options
  const body = requestBody(plan, shelf, name)
  return {
    tags,
    ...(summary === undefined ? {} : { summary }),
    ...(contract.description === undefined ? {} : { description: contract.description }),
    parameters: [...fieldParameters(plan, name), ...headerParameters(plan)],
    ...(body === undefined ? {} : { requestBody: body }),
    responses: { ...successResponses(plan, shelf, name), ...problemResponses(plan, shelf, around) },
    ...(around.challenge === undefined ? {} : { security: options.isPublic === true ? [] : [{ [SCHEME]: [] }] }),
  }
}

function fieldParameters({ method, pattern, fields, schema, options }: CallPlan, name: string): readonly Json[] {
  const required = requiredFields(schema)
  const shape = (field: string): unknown => embedded(fields?.get(field) ?? { type: 'string' }, `${name}.request`)
  const inPath = pattern.names.map((field) => ({ name: field, in: 'path', required: true, schema: shape(field) }))
  if (method !== 'GET') return inPath
  const rest = [...(fields?.keys() ?? [])].filter((field) => !pattern.names.includes(field) && field !== options.ifMatch)
  return [...inPath, ...rest.map((field) => ({ name: field, in: 'query', required: required.includes(field), schema: shape(field) }))]
}

function headerParameters({ contract, options, method, needsMatch }: CallPlan): readonly Json[] {
  const header = (name: string, description: string, required: boolean = false): Json => ({ name, in: 'header', required, description, schema: { type: 'string' } })
  const { idempotencyKey = 'optional' } = options
  return [
    header('X-Correlation-Id', 'Common to everything that one flow does. The answer has it in any case.'),
    { ...header('Request-Timeout-Ms', 'Time that the caller waits, in milliseconds.'), schema: { type: 'integer', minimum: 1 } },
    header('traceparent', 'W3C trace context.'),
    ...(contract.kind === 'command' && idempotencyKey !== 'ignored' ? [header('Idempotency-Key', 'The same for every repetition of one request.', idempotencyKey === 'required')] : []),
    ...(options.ifMatch === undefined ? [] : [header('If-Match', 'The version that the request builds on, as its ETag.', needsMatch)]),
    ...(options.etag === undefined || method !== 'GET' ? [] : [header('If-None-Match', 'ETags that the caller has.')]),
  ]
}

function requestBody(plan: CallPlan, shelf: SchemaShelf, name: string): Json | undefined {
  const { method, schema, pattern, options } = plan
  if (method === 'GET') {
    // References of the parameters point into it.
    if (schema !== undefined && JSON.stringify(schema).includes('"$ref"')) shelf.put(`${name}.request`, schema)
    return undefined
  }
  const fixed = [...pattern.names, ...(options.ifMatch === undefined ? [] : [options.ifMatch])]
  const left = schema === undefined ? {} : withoutFields(schema, fixed)
  if (schema !== undefined && fixed.length > 0 && isRecord(left['properties']) && Object.keys(left['properties']).length === 0) return undefined
  return { required: requiredFields(left).length > 0, content: { 'application/json': { schema: shelf.put(`${name}.request`, left) } } }
}

function successResponses(plan: CallPlan, shelf: SchemaShelf, name: string): Json {
  const { contract, answer, successStatus, options } = plan
  const headers = { 'X-Correlation-Id': { schema: { type: 'string' } }, ...(options.etag === undefined ? {} : { ETag: { schema: { type: 'string' } } }) }
  const told = (description: string, schema: JsonSchema | undefined): Json => ({ description, headers, ...(schema === undefined ? {} : { content: { 'application/json': { schema } } }) })
  const known = options.etag === undefined || plan.method !== 'GET' ? {} : { 304: { description: 'The caller has it.', headers } }
  if (answer === 'accepted') return { [successStatus]: told('It is stored and will be handled.', { type: 'object', properties: { id: { type: 'string' } }, required: ['id'] }) }
  if (!contract.hasReply) return { [successStatus]: told('It is done.', undefined) }
  const schema = contract.answerShapes().reply
  return { [successStatus]: told('The answer.', schema === undefined ? {} : shelf.put(`${name}.response`, schema)), ...known }
}

function problemResponses(plan: CallPlan, shelf: SchemaShelf, around: Surroundings): Json {
  const { target, options, method } = plan
  const { problem, challenge } = around
  const byStatus = new Map<number, JsonSchema[]>([[400, [problem]], [DECLARED, [problem]]])
  const add = (status: number, schema: JsonSchema): void => {
    byStatus.set(status, [...(byStatus.get(status) ?? []), schema])
  }
  if (method !== 'GET') for (const status of [413, 415]) add(status, problem)
  if (plan.needsMatch) add(428, problem)
  if (target.kind === 'command' && options.idempotencyKey !== 'ignored') add(409, problem)
  if (challenge !== undefined && options.isPublic !== true) for (const status of [401, 403]) add(status, problem)
  const statuses: Readonly<Record<string, number | undefined>> = options.errors ?? {}
  for (const error of target.errorNames) add(statuses[error] ?? DECLARED, declaredSchema(plan, error, shelf, around))
  const told = [...byStatus].toSorted(([left], [right]) => left - right).map(([status, schemas]) => [status, problemResponse(schemas)])
  return { ...Object.fromEntries(told), default: problemResponse([problem]) }
}

function problemResponse(schemas: readonly JsonSchema[]): Json {
  const [first] = schemas
  return { description: 'A problem.', content: { [PROBLEM_TYPE]: { schema: schemas.length === 1 ? first : { anyOf: schemas } } } }
}

function declaredSchema({ target }: CallPlan, name: string, shelf: SchemaShelf, { problem, problemBase }: Surroundings): JsonSchema {
  const title = `${target.type}.v${target.version}.${name}`
  const data = target.answerShapes().errors.get(name)
  const properties = {
    type: { const: `${problemBase}${target.type}:${name}` }, contract: { const: target.type }, name: { const: name },
    ...(data === undefined ? {} : { data: shelf.put(`${title}.data`, data) }),
  }
  return shelf.put(title, { allOf: [problem, { type: 'object', properties, required: ['contract', 'name'] }] })
}
