import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { HorizontalPodAutoscaler } from 'kubernetes-models/autoscaling/v2/HorizontalPodAutoscaler'
import { Deployment, type IDeployment } from 'kubernetes-models/apps/v1/Deployment'
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1/PodDisruptionBudget'
import { Service } from 'kubernetes-models/v1/Service'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { ensureFreshDist } from '../../scripts/fresh-dist.mjs'
import { until } from '../servers/until.ts'

const root = join(import.meta.dirname, '..', '..')
const folder = join(root, 'examples', 'kubernetes')
const KINDS = { Deployment, HorizontalPodAutoscaler, PodDisruptionBudget, Service } as const
const PATHS = { Deployment: 'apps/v1', HorizontalPodAutoscaler: 'autoscaling/v2', PodDisruptionBudget: 'policy/v1', Service: 'v1' } as const

interface Manifest {
  readonly apiVersion: string
  readonly kind: keyof typeof KINDS
}

const manifests: readonly Manifest[] = parseAllDocuments(readFileSync(join(folder, 'manifests.yaml'), 'utf8')).map((document) => {
  expect(document.errors).toEqual([])
  return document.toJS()
})

/** What the schemas of Kubernetes say, and the compiler, which knows names that do not exist. */
function problemsOf(all: readonly Manifest[]): string {
  for (const manifest of all) new KINDS[manifest.kind](manifest as never).validate()
  mkdirSync(join(root, '.tmp'), { recursive: true })
  const place = mkdtempSync(join(root, '.tmp', 'manifests-'))
  try {
    const source = all.map((manifest, at) => `import type { I${manifest.kind} as Kind${at} } from 'kubernetes-models/${PATHS[manifest.kind]}/${manifest.kind}'\nexport const manifest${at}: Kind${at} = ${JSON.stringify(manifest, undefined, 1)}`)
    writeFileSync(join(place, 'manifests.ts'), source.join('\n'))
    writeFileSync(join(place, 'tsconfig.json'), JSON.stringify({ extends: '../../tsconfig.json', compilerOptions: { rootDir: '../..' }, include: ['*.ts'] }))
    return spawnSync(join(root, 'node_modules', '.bin', 'tsc'), ['-p', place], { encoding: 'utf8', env: { ...process.env, PATH: `${join(root, 'node_modules', '.bin')}:${process.env['PATH']}` } }).stdout
  } finally {
    rmSync(place, { recursive: true, force: true })
  }
}

describe('the manifests', () => {
  test('are what Kubernetes knows, with no field that it does not', () => {
    expect(manifests.map(({ kind }) => kind)).toEqual(['Deployment', 'Service', 'PodDisruptionBudget', 'HorizontalPodAutoscaler'])
    expect(problemsOf(manifests)).toBe('')
  })

  test('would not pass with a wrong value or an unknown field', () => {
    const [deployment] = manifests as unknown as readonly [{ readonly spec: object }]
    expect(() => problemsOf([{ ...deployment, spec: { ...deployment.spec, replicas: 'two' } } as never])).toThrow(/replicas must be integer/)
    expect(problemsOf([{ ...deployment, spec: { ...deployment.spec, replicaz: 2 } } as never])).toMatch(/"replicaz"' does not exist/)
  })

  test('belong together: names, ports and paths are those of the service, and there is time to drain', () => {
    const [deployment] = manifests as unknown as readonly [IDeployment]
    const pod = deployment.spec?.template.spec
    const [container] = pod?.containers ?? []
    expect(deployment.spec?.selector.matchLabels).toEqual(deployment.spec?.template.metadata?.labels)
    const paths = [container?.livenessProbe, container?.readinessProbe, container?.startupProbe].map((probe) => [probe?.httpGet?.path, probe?.httpGet?.port])
    expect(paths).toEqual([['/livez', 'http'], ['/readyz', 'http'], ['/livez', 'http']])
    const value = (name: string): number => Number(container?.env?.find((one) => one.name === name)?.value)
    const preStopS = container?.lifecycle?.preStop?.sleep?.seconds ?? 0
    const DRAIN_S = 10
    expect(pod?.terminationGracePeriodSeconds ?? 30).toBeGreaterThan(preStopS + (value('NOTICE_MS') + value('GRACE_MS')) / 1_000 + DRAIN_S)
    const dockerfile = readFileSync(join(folder, 'Dockerfile'), 'utf8')
    expect(dockerfile).toMatch(/^CMD \["node", "service\.ts"\]$/m)
    expect(dockerfile).toContain(`PORT=${container?.ports?.[0]?.containerPort}`)
    expect(dockerfile).toMatch(/^USER node$/m)
  })
})

describe('the service as a process', () => {
  let child: ChildProcess | undefined

  beforeAll(async () => {
    expect(await ensureFreshDist()).toBe(true)
  }, 180_000)

  afterEach(() => {
    child?.kill('SIGKILL')
  })

  /** Starts the service and gives its address, what it prints, and its end. */
  async function started(env: Readonly<Record<string, string>>): Promise<{ readonly url: string; readonly lines: readonly string[]; readonly ended: Promise<number | null> }> {
    const lines: string[] = []
    child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', join(folder, 'service.ts')], { env: { ...process.env, PORT: '0', ...env }, stdio: ['ignore', 'pipe', 'inherit'] })
    child.stdout?.setEncoding('utf8').on('data', (text: string) => lines.push(...text.split('\n').filter((line) => line !== '')))
    const { promise: ended, resolve } = Promise.withResolvers<number | null>()
    child.once('exit', (code) => resolve(code))
    const line = await until(() => lines.find((one) => one.startsWith('listening on ')), { what: 'the service listens', deadlineMs: 30_000 })
    return { url: (line ?? '').slice('listening on '.length), lines, ended }
  }

  test('answers what is under way after SIGTERM, is unready first, takes no more, and ends with 0', async () => {
    const { url, lines, ended } = await started({ ANSWER_MS: '2500', NOTICE_MS: '800', GRACE_MS: '20000' })
    expect([(await fetch(`${url}/readyz`)).status, (await fetch(`${url}/livez`)).status]).toEqual([200, 200])
    const order: string[] = []
    const underWay = fetch(`${url}/orders/o-1/freight`).then(async (response) => {
      order.push('answered')
      return [response.status, await response.json()]
    })
    await until(() => lines.includes('quoting o-1'), { what: 'the request is being answered' })
    child?.kill('SIGTERM')
    await until(async () => (await fetch(`${url}/readyz`)).status === 503, { what: 'readiness goes down' })
    order.push('unready')
    // Within the notice time a request that comes nevertheless is answered.
    const late = fetch(`${url}/orders/o-2/freight`).then(({ status }) => status)
    await until(() => fetch(`${url}/livez`).then(() => false, () => true), { what: 'no more is taken' })
    order.push('closed')
    expect([await underWay, await late, await ended]).toEqual([[200, { cents: 440 }], 200, 0])
    expect(order).toEqual(['unready', 'closed', 'answered'])
  }, 60_000)

  test('ends with 0 at once where nothing is under way', async () => {
    const { ended } = await started({ NOTICE_MS: '0' })
    child?.kill('SIGTERM')
    expect(await ended).toBe(0)
  }, 60_000)
})
