export function versitygw(): Promise<string>
export function kafkaJars(version?: string): Promise<string>
export function installedKafka(version?: string): string | null
