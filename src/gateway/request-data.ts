import { TrunklineError } from '../core/errors.ts'
import { matchedVersion } from './etag.ts'
import { jsonOf } from './json-body.ts'
import { isRecord } from './json-shape.ts'
import type { CallPlan } from './route-plan.ts'
import { valueOfTexts } from './text-values.ts'

/** Parameters of a query string at most, so that a long one costs little. */
const PARAMETERS_MAX = 200

/**
 * The data of a request: fields of its path, and of its query or body. Nothing is validated here; the contract does that.
 *
 * @throws `gateway.request_malformed`, `gateway.media_type_refused`, `gateway.precondition_missing`, `contract.body_malformed`,
 *   `contract.payload_too_large`.
 */
export async function requestData(plan: CallPlan, params: ReadonlyMap<string, string>, request: Request, url: URL, bytesMax: number): Promise<unknown> {
  const fixed = fixedFields(plan, params, request)
  if (plan.method === 'GET') return { ...queryFields(plan, url), ...fixed }
  const body = await jsonOf(request, plan.contract.type, bytesMax)
  if (Object.keys(fixed).length === 0) return body ?? {}
  if (body === undefined) return fixed
  if (!isRecord(body)) throw new TrunklineError('gateway.request_malformed', { part: 'body', problem: 'it is not an object, to which the fields of the path could belong' })
  for (const [name, value] of Object.entries(fixed)) {
    // What is said twice must be the same, or a caller would be served something else than it asked for.
    if (Object.hasOwn(body, name) && body[name] !== value) throw new TrunklineError('gateway.request_malformed', { part: 'body', problem: `its field ${JSON.stringify(name)} is not that of the path or of If-Match` })
  }
  return { ...body, ...fixed }
}

/** Fields that the path or If-Match says. */
function fixedFields(plan: CallPlan, params: ReadonlyMap<string, string>, request: Request): Readonly<Record<string, unknown>> {
  const fields = [...params].map(([name, text]): readonly [string, unknown] => [name, valueOfTexts(name, [text], plan.fields?.get(name), plan.schema)])
  const { ifMatch } = plan.options
  if (ifMatch === undefined) return Object.fromEntries(fields)
  const version = matchedVersion(request.headers.get('if-match'))
  if (version === undefined && plan.needsMatch) throw new TrunklineError('gateway.precondition_missing', { header: 'If-Match' })
  if (version !== undefined) fields.push([ifMatch, valueOfTexts(ifMatch, [version], plan.fields?.get(ifMatch), plan.schema)])
  return Object.fromEntries(fields)
}

function queryFields(plan: CallPlan, url: URL): Readonly<Record<string, unknown>> {
  const texts = new Map<string, string[]>()
  let count = 0
  for (const [name, text] of url.searchParams) {
    if (++count > PARAMETERS_MAX) throw new TrunklineError('gateway.request_malformed', { part: 'query', problem: `it has more than ${PARAMETERS_MAX} parameters` })
    // Unknown ones are passed over, as unknown fields of a message are.
    if (plan.fields !== undefined && !plan.fields.has(name)) continue
    if (isDangerous(name)) throw new TrunklineError('gateway.request_malformed', { part: 'query', problem: 'a parameter has a name that can change prototypes' })
    const known = texts.get(name)
    if (known === undefined) texts.set(name, [text])
    else known.push(text)
  }
  return Object.fromEntries([...texts].map(([name, list]) => [name, valueOfTexts(name, list, plan.fields?.get(name), plan.schema)]))
}

function isDangerous(name: string): boolean {
  return name === '__proto__' || name === 'constructor' || name === 'prototype'
}
