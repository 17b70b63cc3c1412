export const HOST: string
export const DATA: string
export const VERSIONS: Record<'kafka' | 'kafka3' | 'debeziumPostgres', string>
export const PORTS: Record<
  'kafka' | 'controller' | 'registry' | 'connect' | 'postgres' | 'mariadb' | 's3' | 'azure' | 'gcs' | 'gcs-json',
  number
>
export const ENDPOINTS: Record<
  | 'KAFKA_BOOTSTRAP'
  | 'REGISTRY_URL'
  | 'REGISTRY_API_URL'
  | 'CONNECT_URL'
  | 'MARIADB_DB'
  | 'MARIADB_USER'
  | 'MARIADB_PASSWORD'
  | 'POSTGRES_USER'
  | 'POSTGRES_PASSWORD'
  | 'S3_ENDPOINT'
  | 'S3_ACCESS_KEY'
  | 'S3_SECRET_KEY'
  | 'S3_BUCKET'
  | 'AZURE_ENDPOINT'
  | 'AZURE_ACCOUNT'
  | 'AZURE_KEY'
  | 'AZURE_CONTAINER'
  | 'GCS_ENDPOINT'
  | 'GCS_JSON_ENDPOINT'
  | 'GCS_BUCKET',
  string
>
