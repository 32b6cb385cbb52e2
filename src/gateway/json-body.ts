import { decodeBody } from '../contract/body.ts'
import { TrunklineError } from '../core/errors.ts'

const JSON_TYPES = 'application/json'

/**
 * The JSON of a request; undefined where there is no body at all.
 *
 * @throws `gateway.media_type_refused`, `contract.payload_too_large`, `contract.body_malformed`, `gateway.request_malformed` for a body that
 *   broke off.
 */
export async function jsonOf(request: Request, type: string, bytesMax: number): Promise<unknown> {
  const { body, headers } = request
  const declared = Number(headers.get('content-length') ?? 0)
  if (declared > bytesMax) throw new TrunklineError('contract.payload_too_large', { type, bytes: declared, bytesMax })
  if (body === null) return undefined
  checkMedia(headers, declared > 0)
  const bytes = await collected(body, type, bytesMax)
  if (bytes.length === 0) return undefined
  checkMedia(headers, true)
  return decodeBody(type, bytes, bytesMax)
}

/** A compressed body could grow beyond every limit when it is opened, so none is. */
function checkMedia(headers: Headers, hasBody: boolean): void {
  const encoding = headers.get('content-encoding')
  if (encoding !== null && encoding.toLowerCase() !== 'identity') throw refused(`${encoding} encoding`)
  const given = headers.get('content-type')
  if (given === null && !hasBody) return
  const [media = '', ...parameters] = (given ?? '').split(';').map((part) => part.trim().toLowerCase())
  if (media !== JSON_TYPES && !/^application\/[\w.-]+\+json$/.test(media)) throw refused(media)
  const charset = parameters.find((parameter) => parameter.startsWith('charset='))?.slice('charset='.length).replaceAll('"', '')
  if (charset !== undefined && charset !== 'utf-8' && charset !== 'utf8') throw refused(`charset ${charset}`)
}

function refused(given: string): TrunklineError {
  return new TrunklineError('gateway.media_type_refused', { given: given.slice(0, 100), accepted: JSON_TYPES })
}

async function collected(body: ReadableStream<Uint8Array>, type: string, bytesMax: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  const reader = body.getReader()
  try {
    for (;;) {
      const { done, value } = await read(reader)
      if (done) return chunks.length === 1 ? (chunks[0] ?? new Uint8Array()) : Buffer.concat(chunks)
      bytes += value.byteLength
      if (bytes > bytesMax) throw new TrunklineError('contract.payload_too_large', { type, bytes, bytesMax })
      chunks.push(value)
    }
  } finally {
    // What is left of a body that is refused is not read.
    reader.cancel().catch(() => {})
  }
}

async function read(reader: ReadableStreamDefaultReader<Uint8Array>): ReturnType<ReadableStreamDefaultReader<Uint8Array>['read']> {
  try {
    return await reader.read()
  } catch (cause) {
    throw new TrunklineError('gateway.request_malformed', { part: 'body', problem: 'it broke off' }, { cause })
  }
}
